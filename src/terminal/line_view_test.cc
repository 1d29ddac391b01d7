#include "terminal/line_view.h"

#include <gtest/gtest.h>

#include <random>

#include "terminal/width.h"
#include "text/utf8.h"

namespace dsv3::terminal {
namespace {

/// A terminal that knows what LineView uses: text, wide characters, \r, \n, CSI A, C and J.
class Screen {
 public:
  explicit Screen(ScreenSize size) : size_(size), rows_(1) {}

  void write(std::string_view out) {
    for (size_t i = 0; i < out.size();) {
      if (out[i] == '\r') {
        column_ = 0;
        ++i;
      } else if (out[i] == '\n') {
        ++i;
        if (++row_ == rows_.size()) rows_.emplace_back();
      } else if (out[i] == '\x1b') {
        size_t end = i + 2;
        size_t n = 0;
        for (; out[end] >= '0' && out[end] <= '9'; ++end) {
          n = 10 * n + static_cast<size_t>(out[end] - '0');
        }
        control(out[end], n);
        i = end + 1;
      } else {
        const size_t next = cluster_end(out, i);
        put(std::string(out.substr(i, next - i)));
        i = next;
      }
    }
  }
  /// Lines from the top, without spaces at their ends; and the cursor as "row:column".
  std::string text() const {
    std::string all;
    for (const auto& row : rows_) {
      std::string line;
      for (const std::string& cell : row) line += cell;
      line.erase(line.find_last_not_of(' ') + 1);
      all += line + "\n";
    }
    return all;
  }
  std::string cursor() const { return std::to_string(row_) + ":" + std::to_string(column_); }

 private:
  void control(char c, size_t n) {
    if (c == 'A') {
      // A real one stops at the top; here that is a mistake, as what is above is not ours.
      ASSERT_LE(n, row_);
      row_ -= n;
    } else if (c == 'C') {
      column_ += n;
      ASSERT_LT(column_, static_cast<size_t>(size_.columns));
    } else if (c == 'J') {
      rows_.resize(row_ + 1);
      rows_[row_].resize(std::min(rows_[row_].size(), column_));
    } else {
      FAIL() << "unknown control " << c;
    }
  }
  void put(const std::string& cluster) {
    const auto width = static_cast<size_t>(text_width(cluster));
    ASSERT_LE(column_ + width, static_cast<size_t>(size_.columns)) << "written over the edge";
    auto& row = rows_[row_];
    if (row.size() < column_ + width) row.resize(column_ + width, " ");
    row[column_] = cluster;
    for (size_t i = 1; i < width; ++i) row[column_ + i] = "";
    column_ += width;
  }

  ScreenSize size_;
  std::vector<std::vector<std::string>> rows_;
  size_t row_ = 0, column_ = 0;
};

TEST(LayoutTest, FullRowsGoOnBelowAndLinesHaveTheirOwnPrompt) {
  const Layout layout = lay_out("> ", ". ", "abcdefgh\nxy", 9, 6);
  ASSERT_EQ(layout.rows.size(), 3u);
  EXPECT_EQ(layout.rows[0].text, "> abcd");
  EXPECT_EQ(layout.rows[1].text, "efgh");
  EXPECT_EQ(layout.rows[2].text, ". xy");
  EXPECT_EQ(layout.cursor_row, 2u);
  EXPECT_EQ(layout.cursor_column, 2);
}

TEST(LayoutTest, WideCharactersAreNotCutInHalf) {
  const Layout layout = lay_out("> ", ". ", "a\xE6\x97\xA5\xE6\x9C\xAC", 4, 6);
  ASSERT_EQ(layout.rows.size(), 2u);
  EXPECT_EQ(layout.rows[0].text, "> a\xE6\x97\xA5");
  EXPECT_EQ(layout.rows[1].text, "\xE6\x9C\xAC");
  EXPECT_EQ(layout.cursor_row, 1u);
  EXPECT_EQ(layout.cursor_column, 0);
}

TEST(LayoutTest, BehindAFullRowTheCursorHasARowOfItsOwn) {
  const Layout end = lay_out("> ", ". ", "abcd", 4, 6);
  ASSERT_EQ(end.rows.size(), 2u);
  EXPECT_EQ(end.cursor_row, 1u);
  EXPECT_EQ(end.cursor_column, 0);
  const Layout middle = lay_out("> ", ". ", "abcd\nx", 4, 6);
  ASSERT_EQ(middle.rows.size(), 3u);
  EXPECT_EQ(middle.rows[2].text, ". x");
  EXPECT_EQ(middle.cursor_row, 1u);
}

TEST(LineViewTest, EveryStateIsDrawnOverTheOneBefore) {
  const ScreenSize size{20, 50};
  const std::vector<std::string> pieces = {"word ", "\n",        "\xE6\x97\xA5\xE6\x9C\xAC", "x",
                                           "\t",    "e\xCC\x81", "\xF0\x9F\x98\x80"};
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    LineView view;
    Screen screen(size);
    for (int step = 0; step < 6; ++step) {
      std::string text;
      for (size_t n = random() % 20; n > 0; --n) text += pieces[random() % pieces.size()];
      size_t cursor = 0;
      for (size_t n = random() % 40; n > 0 && cursor < text.size(); --n) {
        cursor = cluster_end(text, cursor);
      }
      const Layout layout = lay_out("> ", ". ", text, cursor, size.columns);
      screen.write(view.draw(layout, size));
      if (HasFatalFailure()) return;
      Screen fresh(size);
      fresh.write(LineView().draw(layout, size));
      ASSERT_EQ(screen.text(), fresh.text());
      ASSERT_EQ(screen.cursor(),
                std::to_string(layout.cursor_row) + ":" + std::to_string(layout.cursor_column));
    }
  }
}

TEST(LineViewTest, TextHigherThanTheScreenIsShownAroundTheCursor) {
  const ScreenSize size{10, 3};
  const std::string text = "a\nb\nc\nd\ne";
  LineView view;
  Screen screen(size);
  screen.write(view.draw(lay_out("> ", ". ", text, text.size(), size.columns), size));
  EXPECT_EQ(screen.text(), ". c\n. d\n. e\n");
  EXPECT_EQ(screen.cursor(), "2:3");
  screen.write(view.draw(lay_out("> ", ". ", text, 4, size.columns), size));
  EXPECT_EQ(screen.text(), ". c\n. d\n. e\n");
  EXPECT_EQ(screen.cursor(), "0:2");
  screen.write(view.draw(lay_out("> ", ". ", text, 0, size.columns), size));
  EXPECT_EQ(screen.text(), "> a\n. b\n. c\n");
  screen.write(view.finish(lay_out("> ", ". ", text, 0, size.columns), size));
  EXPECT_EQ(screen.text(), "> a\n. b\n. c\n. d\n. e\n\n");
}

TEST(LineViewTest, ANarrowerScreenHasBrokenTheRowsAboveTheCursor) {
  LineView view;
  const ScreenSize wide{20, 10}, narrow{8, 10};
  view.draw(lay_out("> ", ". ", "0123456789012345678", 19, 20), wide);
  // "> 012345678901234567" takes three rows of 8 now, and the cursor is in the row after it.
  EXPECT_EQ(view.draw(lay_out("> ", ". ", "x", 1, 8), narrow).substr(0, 5), "\x1b[3A\r");
}

}  // namespace
}  // namespace dsv3::terminal
