#include "terminal/keys.h"

#include <gtest/gtest.h>

#include <vector>

namespace dsv3::terminal {
namespace {

using Kind = Key::Kind;

std::vector<Key> keys(KeyDecoder& decoder, std::string_view bytes, bool at_rest = false) {
  decoder.push(bytes);
  std::vector<Key> all;
  while (const auto key = decoder.next(at_rest)) all.push_back(*key);
  return all;
}
std::vector<Key> keys(std::string_view bytes) {
  KeyDecoder decoder;
  return keys(decoder, bytes, /*at_rest=*/true);
}
Key text(const char* typed) { return {Kind::kText, typed}; }

TEST(KeyDecoderTest, CharactersComeTogetherAndControlKeysAlone) {
  EXPECT_EQ(keys("caf\xC3\xA9 \xE6\x97\xA5\r\x01\x7Fx\n"),
            (std::vector<Key>{text("caf\xC3\xA9 \xE6\x97\xA5"),
                              {Kind::kEnter, {}},
                              {Kind::kHome, {}},
                              {Kind::kBackspace, {}},
                              text("x"),
                              {Kind::kEnter, {}}}));
}

TEST(KeyDecoderTest, SequencesOfArrowsAndTheLike) {
  EXPECT_EQ(keys("\x1b[A\x1bOB\x1b[1;5D\x1b[3~\x1b[H\x1b\x7F\x1b\r"),
            (std::vector<Key>{{Kind::kUp, {}},
                              {Kind::kDown, {}},
                              {Kind::kWordLeft, {}},
                              {Kind::kDelete, {}},
                              {Kind::kHome, {}},
                              {Kind::kKillPartLeft, {}},
                              {Kind::kNewline, {}}}));
}

TEST(KeyDecoderTest, UnknownSequencesAreDroppedWhole) {
  // A function key, a mouse report, a focus event, Alt-x.
  EXPECT_EQ(keys("a\x1b[15~b\x1b[<0;10;20Mc\x1b[Id\x1bx\x1b[200e"),
            (std::vector<Key>{text("a"), text("b"), text("c"), text("d")}));
}

TEST(KeyDecoderTest, BytesThatComeOneByOneAreTheSameKeys) {
  const std::string bytes = "h\xC3\xA9\x1b[1;5C\x1b[200~p\r\nq\x1b[201~\x1b[3~\r";
  KeyDecoder decoder;
  std::vector<Key> all;
  for (const char c : bytes) {
    for (Key& key : keys(decoder, std::string_view(&c, 1))) all.push_back(std::move(key));
  }
  EXPECT_EQ(all, (std::vector<Key>{text("h"),
                                   text("\xC3\xA9"),
                                   {Kind::kWordRight, {}},
                                   {Kind::kPaste, "p\nq"},
                                   {Kind::kDelete, {}},
                                   {Kind::kEnter, {}}}));
  EXPECT_FALSE(decoder.in_sequence());
}

TEST(KeyDecoderTest, EscAloneIsAKeyOnceNothingFollows) {
  KeyDecoder decoder;
  EXPECT_TRUE(keys(decoder, "\x1b").empty());
  EXPECT_TRUE(decoder.in_sequence());
  EXPECT_EQ(keys(decoder, "", /*at_rest=*/true), (std::vector<Key>{{Kind::kCancel, {}}}));
  EXPECT_TRUE(keys(decoder, "\x1b[1").empty());
  EXPECT_TRUE(keys(decoder, "", /*at_rest=*/true).empty());
  EXPECT_EQ(keys(decoder, "x"), (std::vector<Key>{text("x")}));
}

TEST(KeyDecoderTest, PastedTextKeepsLinesAndTabsAndLosesCommandsToTheTerminal) {
  EXPECT_EQ(keys("\x1b[200~a\r\nb\rc\n\td\x1b[31m\x07\x03\x1b[201~e"),
            (std::vector<Key>{{Kind::kPaste, "a\nb\nc\n\td[31m"}, text("e")}));
}

TEST(KeyDecoderTest, WhatIsNotUtf8BecomesTheReplacementCharacter) {
  EXPECT_EQ(keys("a\xFF"
                 "b\xE6\x97"),
            (std::vector<Key>{text("a\xEF\xBF\xBD"
                                   "b\xEF\xBF\xBD")}));
  EXPECT_EQ(keys("\x1b[200~\xC3\x1b[201~"), (std::vector<Key>{{Kind::kPaste, "\xEF\xBF\xBD"}}));
}

}  // namespace
}  // namespace dsv3::terminal
