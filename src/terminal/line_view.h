#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace dsv3::terminal {

struct ScreenSize {
  int columns = 80, rows = 24;
  bool operator==(const ScreenSize&) const = default;
};

/// How a text with a prompt in front is laid out on rows of a screen.
struct Layout {
  struct Row {
    std::string text;
    int width = 0;
  };
  std::vector<Row> rows;
  size_t cursor_row = 0;
  int cursor_column = 0;
};

/// Text's line breaks begin new rows, with `continuation` in front; rows that are full go on in the
/// next one. Where the cursor stands after a full row, there is one more.
Layout lay_out(std::string_view prompt, std::string_view continuation, std::string_view text,
               size_t cursor, int columns);

/// Draws an input over and over in the same place, at the cursor's row and below it. What is higher
/// than the screen is shown in part, around the cursor. The functions return what to write.
class LineView {
 public:
  std::string draw(const Layout& layout, const ScreenSize& screen);
  /// All of it for good, the cursor below.
  std::string finish(const Layout& layout, const ScreenSize& screen);
  /// The screen has been cleared, or other things were written: begin where the cursor is.
  void forget() { *this = {}; }

 private:
  std::string back_to_first_row(const ScreenSize& screen) const;

  ScreenSize screen_;
  std::vector<int> widths_;  // of the rows that are on the screen
  size_t cursor_row_ = 0;    // among them
  int cursor_column_ = 0;
  size_t first_ = 0;  // the first row shown
};

}  // namespace dsv3::terminal
