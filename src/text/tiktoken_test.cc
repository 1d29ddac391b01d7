#include "text/tiktoken.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "dsv3/error.h"
#include "dsv3/tokenizer.h"
#include "text/test_files.h"
#include "text/tokenizer_gguf.h"

namespace dsv3 {
namespace {

using Ids = std::vector<int64_t>;

std::string base64(std::string_view bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) {
      bits = bits << 8 | (i + j < bytes.size() ? static_cast<uint8_t>(bytes[i + j]) : 0);
    }
    for (size_t j = 0; j < 4; ++j) {
      text += i + j <= bytes.size() ? kDigits[bits >> (18 - 6 * j) & 63] : '=';
    }
  }
  return text;
}

/// All bytes, in an order of their own, and some longer tokens.
std::vector<std::string> tokens() {
  std::vector<std::string> all;
  for (int i = 0; i < 256; ++i) all.push_back(std::string(1, static_cast<char>(i * 7 % 256)));
  for (const char* token : {"th", "he", "the", " t", " the", "in", "ing", "中", "文", "中文", "ab",
                            "bc", "abc", "  ", "    ", "\n\n", "12", "123", "é", "'s", "aa", "aaa",
                            "ot", "other", "not a part of anything"}) {
    all.emplace_back(token);
  }
  return all;
}

std::string model_text() {
  std::string text;
  const std::vector<std::string> all = tokens();
  for (size_t i = 0; i < all.size(); ++i) text += fmt::format("{} {}\n", base64(all[i]), i);
  return text;
}

constexpr const char* kConfig = R"({"bos_token": "[BOS]", "added_tokens_decoder": {
    "281": {"content": "[BOS]", "special": true}, "283": {"content": "<|im_end|>", "special": true},
    "284": {"content": "<tool>", "special": false}}})";

class TiktokenTest : public testing::Test {
 protected:
  Tokenizer load(const std::string& model = model_text(), const char* config = kConfig) {
    folder_.write("tiktoken.model", model);
    folder_.write("tokenizer_config.json", config);
    return Tokenizer::from_file(folder_.path());
  }
  TempFolder folder_;
};

/// What tiktoken does with a piece, in the plainest way.
Ids merge(std::string_view piece, const std::map<std::string, int64_t>& ranks) {
  if (const auto whole = ranks.find(std::string(piece)); whole != ranks.end()) {
    return {whole->second};
  }
  std::vector<std::string> parts;
  for (const char c : piece) parts.emplace_back(1, c);
  for (;;) {
    int64_t best = INT64_MAX;
    size_t place = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find(parts[i] + parts[i + 1]);
      if (found != ranks.end() && found->second < best) best = found->second, place = i;
    }
    if (best == INT64_MAX) break;
    parts[place] += parts[place + 1];
    parts.erase(parts.begin() + place + 1);
  }
  Ids ids;
  for (const std::string& part : parts) ids.push_back(ranks.at(part));
  return ids;
}

TEST_F(TiktokenTest, MergesByTheRankOfTheMergedBytes) {
  const Tokenizer tokenizer = load();
  std::map<std::string, int64_t> ranks;
  for (const std::string& token : tokens()) ranks.emplace(token, ranks.size());
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    std::string word;
    for (size_t i = random() % 70 + 1; i > 0; --i) word += "abcthetingor"[random() % 12];
    ASSERT_EQ(tokenizer.encode(word), merge(word, ranks)) << word;
  }
}

TEST_F(TiktokenTest, AGgufFileOfItGivesTheSameIds) {
  const Tokenizer tokenizer = load();
  const GgufMetadata metadata = TokenizerGguf::make(folder_.path());
  EXPECT_EQ(metadata.string("tokenizer.ggml.pre"), "kimi-k2");
  const Tokenizer from_gguf = TokenizerGguf::read(metadata);
  EXPECT_EQ(from_gguf.vocab_size(), tokenizer.vocab_size());
  EXPECT_EQ(from_gguf.bos_token_id(), tokenizer.bos_token_id());
  std::mt19937 random(4);
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (size_t i = random() % 70 + 1; i > 0; --i) text += " abcthe12 tin\ngor's<[BOS]"[random() % 25];
    ASSERT_EQ(from_gguf.encode(text), tokenizer.encode(text)) << text;
  }
  EXPECT_EQ(from_gguf.encode("[BOS]中文 the<|im_end|>"), tokenizer.encode("[BOS]中文 the<|im_end|>"));
  EXPECT_EQ(from_gguf.encode(std::string(25'001, 'a')), tokenizer.encode(std::string(25'001, 'a')));
}

TEST_F(TiktokenTest, SplitsAsKimiDoes) {
  const Tokenizer tokenizer = load();
  const auto pieces = [&](std::string_view text) {
    std::string shown;
    for (const int64_t id : tokenizer.encode(text)) {
      shown += fmt::format("[{}]", tokenizer.token_bytes(id));
    }
    return shown;
  };
  // Han characters stand alone; digits go by threes; "'s" stays with its word, but not 'the.
  EXPECT_EQ(pieces("中文the中"), "[中文][the][中]");
  EXPECT_EQ(pieces("12312"), "[123][12]");
  EXPECT_EQ(pieces("the's"), "[the]['s]");
  EXPECT_EQ(pieces("    the"), "[  ][ ][ the]");
}

TEST_F(TiktokenTest, SpecialTokensAreNamedOrReserved) {
  const Tokenizer tokenizer = load();
  const int64_t base = static_cast<int64_t>(tokens().size());
  ASSERT_EQ(base, 281);
  EXPECT_EQ(tokenizer.vocab_size(), base + 258);
  EXPECT_EQ(tokenizer.bos_token_id(), base);
  EXPECT_EQ(tokenizer.encode("[BOS]<|im_end|><|reserved_token_282|>"), (Ids{281, 283, 282}));
  EXPECT_EQ(tokenizer.token_to_id("<|reserved_token_538|>"), 538);
  EXPECT_EQ(tokenizer.decode(Ids{281, 284, 258}, true), "<tool>the");
  EXPECT_EQ(tokenizer.id_to_token(260), "Ġthe");
  const Ids plain = tokenizer.encode("[BOS]", false, /*allow_special=*/false);
  EXPECT_EQ(plain.size(), 5u);
}

TEST_F(TiktokenTest, LongRowsAreCutAsTheWrapperDoes) {
  const Tokenizer tokenizer = load();
  // Pairs come first; the odd letter at the end would join the last one, but for the cut.
  EXPECT_EQ(tokenizer.encode(std::string(24'999, 'a')).size(), 12'499u);
  EXPECT_EQ(tokenizer.encode(std::string(25'001, 'a')).size(), 12'501u);
  EXPECT_EQ(tokenizer.encode(std::string(50'001, 'a')).size(), 25'001u);
}

TEST_F(TiktokenTest, FaultsAreNamed) {
  const auto expect = [&](const std::string& model, const char* config, const char* part) {
    try {
      load(model, config);
      ADD_FAILURE() << "no error, expected " << part;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find("tiktoken.model"), std::string::npos) << e.what();
    }
  };
  expect("", "{}", "has no token for the byte 0x00");
  expect("YQ== x\n", "{}", "line 1: 'YQ== x'");
  expect("YQ==\n", "{}", "line 1");
  expect("Y?== 0\n", "{}", "line 1");
  expect("YQ== 0\nYQ== 1\n", "{}", "line 2: token 'a' has two ids");
  expect("YQ== 5\n", "{}", "ranks up to 5");
  expect(model_text(), R"({"added_tokens_decoder": {"3": {"content": "x"}}})", "'3' is no id");
  expect(model_text(), R"({"added_tokens_decoder": {"281": {}}})", "content");
  expect(model_text(), R"({"added_tokens_decoder": []})", "added_tokens_decoder");
}

}  // namespace
}  // namespace dsv3
