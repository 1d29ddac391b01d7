#include "terminal/line.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "terminal/width.h"

namespace dsv3::terminal {
namespace {

using Kind = Key::Kind;

/// A line, and keys as a terminal sends them.
class LineTest : public testing::Test {
 protected:
  Line::State type(std::string_view bytes) {
    KeyDecoder decoder;
    decoder.push(bytes);
    Line::State state = Line::State::kTyping;
    while (const auto key = decoder.next(/*at_rest=*/true)) state = line().press(*key);
    return state;
  }
  /// The text, with a | at the cursor.
  std::string shown() {
    const std::string text = line().buffer().text();
    const size_t cursor = line().buffer().cursor();
    return fmt::format("{}|{}", text.substr(0, cursor), text.substr(cursor));
  }
  Line& line() {
    if (!line_) line_.emplace(history_, completions_);
    return *line_;
  }

  History history_{""};
  std::vector<std::string> completions_ = {"/save", "/set", "/system", "/undo"};
  std::optional<Line> line_;
};

TEST_F(LineTest, MovingAndErasing) {
  type("hello world\x01X\x05Y\x1b[D\x1b[D\x1b[3~");
  EXPECT_EQ(shown(), "Xhello worl|Y");
  type("\x1b\x62\x1b[D\x0B");
  EXPECT_EQ(shown(), "Xhello|");
  type("\x15\x19\x19");
  EXPECT_EQ(shown(), "XhelloXhello|");
  type(" two words\x17");
  EXPECT_EQ(shown(), "XhelloXhello two |");
  type("\x15 ab\x14");
  EXPECT_EQ(shown(), " ba|");
}

TEST_F(LineTest, CharactersAreErasedAsAPersonSeesThem) {
  // e and an accent, a family of joined emoji, a flag, a hand with a skin tone.
  type(
      "e\xCC\x81|\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9|\xF0\x9F\x87\xA9\xF0\x9F\x87\xAA|"
      "\xF0\x9F\x91\x8B\xF0\x9F\x8F\xBD");
  type("\x7F");
  EXPECT_EQ(line().buffer().text().substr(line().buffer().text().size() - 1), "|");
  type("\x7F\x7F\x7F");
  EXPECT_EQ(line().buffer().text(), "e\xCC\x81|\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9");
  type("\x1b[D\x1b[D\x7F");
  EXPECT_EQ(line().buffer().text(), "|\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9");
}

TEST_F(LineTest, UpAndDownGoThroughLinesAndThenThroughTheHistory) {
  history_.add("old");
  history_.add("three\nlines\nhere");
  type("draft");
  type("\x1b[A");
  EXPECT_EQ(shown(), "three\nlines\nhere|");
  type("\x1b[A");
  EXPECT_EQ(shown(), "three\nline|s\nhere");
  type("\x1b[A\x1b[A");
  EXPECT_EQ(shown(), "old|");
  type("\x1b[A");
  EXPECT_EQ(shown(), "old|");
  type("\x1b[B\x1b[B");
  EXPECT_EQ(shown(), "draft|");
}

TEST_F(LineTest, KillingGoesOnOverLines) {
  type("one\x1b\rtwo\x1b\rthree\x15\x15\x15");
  EXPECT_EQ(shown(), "one\n|");
  type("\x1b[A\x0B");
  EXPECT_EQ(shown(), "|\n");
  type("\x0B");
  EXPECT_EQ(shown(), "|");
}

TEST_F(LineTest, EnterCtrlCAndCtrlD) {
  EXPECT_EQ(type("\x04"), Line::State::kEnd);
  EXPECT_EQ(type("ab\x01\x04"), Line::State::kTyping);
  EXPECT_EQ(shown(), "|b");
  EXPECT_EQ(type("\x03"), Line::State::kCtrlC);
  EXPECT_EQ(type("\x1b\r"), Line::State::kTyping);
  EXPECT_EQ(shown(), "\n|b");
  EXPECT_EQ(type("\r"), Line::State::kEntered);
}

TEST_F(LineTest, TabCompletesCommands) {
  type("/u\t");
  EXPECT_EQ(shown(), "/undo |");
  type("\x15/s\t");
  EXPECT_EQ(shown(), "/s|");
  type("y\t");
  EXPECT_EQ(shown(), "/system |");
  type("\x15hello /un\t");
  EXPECT_EQ(shown(), "hello /un|");
  type("\x15\t");
  EXPECT_EQ(shown(), "|");
}

TEST_F(LineTest, SearchFindsOlderAndOlderEntries) {
  for (const char* entry : {"write a poem", "what is MLA", "write a story"}) history_.add(entry);
  type("draft\x12writ");
  EXPECT_TRUE(line().searching());
  EXPECT_EQ(line().search_prompt(), "search 'writ': ");
  EXPECT_EQ(shown(), "write a story|");
  type("\x12");
  EXPECT_EQ(shown(), "write a poem|");
  type("\x12");
  EXPECT_EQ(line().search_prompt(), "nothing with 'writ': ");
  EXPECT_EQ(type("\x03"), Line::State::kTyping);
  EXPECT_FALSE(line().searching());
  EXPECT_EQ(shown(), "draft|");
  type("\x12MLA\x05!");
  EXPECT_EQ(shown(), "what is MLA!|");
  EXPECT_EQ(type("\x12poem\r"), Line::State::kEntered);
  EXPECT_EQ(shown(), "write a poem|");
}

TEST(HistoryTest, FilesKeepEntriesOfSeveralSessionsAndLines) {
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("dsv3_history_" + std::to_string(getpid()));
  std::filesystem::remove(file);
  {
    History one(file), two(file);
    one.add("two\nlines \\n \\");
    two.add("other");
    two.add("other");
  }
  EXPECT_EQ(History(file).entries(), (std::vector<std::string>{"two\nlines \\n \\", "other"}));
  using std::filesystem::perms;
  EXPECT_EQ(std::filesystem::status(file).permissions(), perms::owner_read | perms::owner_write);

  std::ofstream(file, std::ios::app) << "\xFF broken\n" << std::string(3000, '\n');
  EXPECT_EQ(History(file).entries().back(), "\xEF\xBF\xBD broken");
  std::ofstream many(file);
  for (int i = 0; i < 2500; ++i) many << i << "\n";
  many.close();
  History kept(file);
  EXPECT_EQ(kept.entries().size(), History::kMaxEntries);
  EXPECT_EQ(kept.entries().front(), "1500");
  EXPECT_LT(std::filesystem::file_size(file), 6000u);
  std::filesystem::remove(file);
  History nowhere("/nonexistent/folder/history");
  nowhere.add("x");
  EXPECT_EQ(nowhere.entries().size(), 1u);
}

TEST(WidthTest, WideCharactersMarksAndJoiners) {
  EXPECT_EQ(text_width("abc"), 3);
  EXPECT_EQ(text_width("\xE6\x97\xA5\xE6\x9C\xAC"), 4);                  // 日本
  EXPECT_EQ(text_width("\xEF\xBD\xB6\xED\x95\x9C"), 3);                  // half-width ｶ, 한
  EXPECT_EQ(text_width("e\xCC\x81"), 1);                                 // é of two characters
  EXPECT_EQ(text_width("\xF0\x9F\x98\x80\xE2\x9C\x85"), 4);              // 😀✅
  EXPECT_EQ(text_width("\xE2\x82\xAC\xC3\xA4\xC2\xAD\xE2\x94\x80"), 4);  // €ä, soft hyphen, ─
}

}  // namespace
}  // namespace dsv3::terminal
