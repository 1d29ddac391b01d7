#include <gtest/gtest.h>

#include <random>

#include "dsv3/tokenizer.h"
#include "text/byte_level.h"
#include "text/utf8.h"

namespace dsv3 {
namespace {

Tokenizer mini_tokenizer() {
  return Tokenizer::from_file(std::string(DSV3_SOURCE_DIR) +
                              "/tests/golden-text/mini-tokenizer.json");
}

/// The token of a single byte: all 256 are in the vocabulary.
int64_t byte_token(const Tokenizer& tokenizer, uint8_t byte) {
  std::string letter;
  append_utf8(letter, byte_level_letter(byte));
  return tokenizer.token_to_id(letter).value();
}

std::vector<std::string> stream(const Tokenizer& tokenizer, std::string_view bytes) {
  StreamDecoder decoder(tokenizer);
  std::vector<std::string> pieces;
  for (const char c : bytes) {
    pieces.push_back(decoder.push(byte_token(tokenizer, static_cast<uint8_t>(c))));
  }
  pieces.push_back(decoder.flush());
  return pieces;
}

using Pieces = std::vector<std::string>;

TEST(StreamDecoderTest, HoldsBackHalfACharacterOnly) {
  const Tokenizer tokenizer = mini_tokenizer();
  EXPECT_EQ(stream(tokenizer, "a€b"), (Pieces{"a", "", "", "€", "b", ""}));
  EXPECT_EQ(stream(tokenizer, "\xF0\x9F\x98"), (Pieces{"", "", "", "\uFFFD"}));
}

TEST(StreamDecoderTest, InvalidBytesAreReplacedAtOnce) {
  const Tokenizer tokenizer = mini_tokenizer();
  EXPECT_EQ(stream(tokenizer, "\xFFz"), (Pieces{"\uFFFD", "z", ""}));
  EXPECT_EQ(stream(tokenizer, "\xE0\x80"), (Pieces{"", "\uFFFD\uFFFD", ""}));  // overlong
  EXPECT_EQ(stream(tokenizer, "\xED\xA0"), (Pieces{"", "\uFFFD\uFFFD", ""}));  // surrogate
  EXPECT_EQ(stream(tokenizer, "\xE2\x82z"), (Pieces{"", "", "\uFFFDz", ""}));
}

TEST(StreamDecoderTest, SkippedAndUnknownIdsDoNotCutACharacter) {
  const Tokenizer tokenizer = mini_tokenizer();
  StreamDecoder decoder(tokenizer, /*skip_special_tokens=*/true);
  EXPECT_EQ(decoder.push(byte_token(tokenizer, 0xC3)), "");
  EXPECT_EQ(decoder.push(0), "");
  EXPECT_EQ(decoder.push(-5), "");
  EXPECT_EQ(decoder.push(1'000'000'000'000), "");
  EXPECT_EQ(decoder.push(byte_token(tokenizer, 0xA9)), "é");
}

TEST(StreamDecoderTest, FlushBeginsANewText) {
  const Tokenizer tokenizer = mini_tokenizer();
  StreamDecoder decoder(tokenizer);
  decoder.push(byte_token(tokenizer, 0xC3));
  EXPECT_EQ(decoder.flush(), "\uFFFD");
  EXPECT_EQ(decoder.flush(), "");
  EXPECT_EQ(decoder.push(byte_token(tokenizer, 'a')), "a");
}

TEST(RoundTripTest, RandomBytesComeBackWithReplacements) {
  const Tokenizer tokenizer = mini_tokenizer();
  std::mt19937 random(20240607);
  const std::string_view pieces[] = {"a", " the", "\n", "é", "中文", "😀", "1234", "\xFF", "\xE2\x82",
                                     "\xED\xA0\x80", "<think>", "<｜User｜>", "\xF4\x90", "\u3000"};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    const size_t parts = random() % 30;
    for (size_t i = 0; i < parts; ++i) {
      if (random() % 2) text += pieces[random() % std::size(pieces)];
      else text.push_back(static_cast<char>(random()));
    }
    const std::string expected = utf8_lossy(text);
    ASSERT_TRUE(is_valid_utf8(expected));
    for (const bool allow_special : {true, false}) {
      const auto ids = tokenizer.encode(text, false, allow_special);
      ASSERT_EQ(tokenizer.decode(ids), expected);
      StreamDecoder decoder(tokenizer);
      std::string streamed;
      for (const int64_t id : ids) {
        const std::string piece = decoder.push(id);
        ASSERT_TRUE(is_valid_utf8(piece));
        streamed += piece;
      }
      ASSERT_EQ(streamed + decoder.flush(), expected);
    }
  }
}

TEST(RoundTripTest, LongRunsAreFast) {
  const Tokenizer tokenizer = mini_tokenizer();
  for (const std::string_view unit : {"a", " ", "\n", "😀", "中", "7", "<", "\x01", "\xFF"}) {
    std::string text;
    while (text.size() < 1'000'000) text += unit;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), utf8_lossy(text));
  }
}

TEST(Utf8Test, OneReplacementForEachMaximalInvalidPart) {
  EXPECT_EQ(utf8_lossy("a\xF0\x9F\x98z"), "a\uFFFDz");
  EXPECT_EQ(utf8_lossy("\xC0\x80"), "\uFFFD\uFFFD");
  EXPECT_EQ(utf8_lossy("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(utf8_lossy("ok\xE4\xB8"), "ok\uFFFD");
}

}  // namespace
}  // namespace dsv3
