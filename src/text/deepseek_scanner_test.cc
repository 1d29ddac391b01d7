#include "text/deepseek_scanner.h"

#include <gtest/gtest.h>

#include <random>

#include "base/json.h"
#include "text/pre_tokenizer.h"

namespace dsv3 {
namespace {

using Pieces = std::vector<std::string>;

Json deepseek_json() {
  return read_json_file(std::filesystem::path(DSV3_SOURCE_DIR) /
                        "tests/golden-text/mini-tokenizer.json")["pre_tokenizer"];
}

void expect_same(const PreTokenizer& pre_tokenizer, std::string_view text) {
  Pieces fast, slow;
  auto take_fast = [&](std::string_view piece) { fast.emplace_back(piece); };
  auto take_slow = [&](std::string_view piece) { slow.emplace_back(piece); };
  pre_tokenizer.split({text}, take_fast);
  pre_tokenizer.split_in_steps({text}, take_slow);
  ASSERT_EQ(fast, slow) << Json(std::string(text)).dump();
}

TEST(DeepseekScannerTest, KnowsItsOwnPatternsOnly) {
  Json json = deepseek_json();
  EXPECT_TRUE(DeepseekScanner::recognises(json));
  EXPECT_FALSE(DeepseekScanner::recognises(nullptr));
  for (const auto& [field, value] :
       {std::pair<const char*, Json>("behavior", "Removed"), {"invert", true},
        {"pattern", {{"Regex", R"(\p{N}{1,4})"}}}, {"pattern", {{"String", R"(\p{N}{1,3})"}}}}) {
    Json other = json;
    other["pretokenizers"][0][field] = value;
    EXPECT_FALSE(DeepseekScanner::recognises(other)) << other.dump();
  }
  json["pretokenizers"][3]["add_prefix_space"] = true;
  EXPECT_FALSE(DeepseekScanner::recognises(json));
}

TEST(DeepseekScannerTest, SplitsEachCharacterAndNeighboursAsThePatternsDo) {
  const PreTokenizer pre_tokenizer = PreTokenizer::from_json(deepseek_json());
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    if (c > 0x30000 && c % 64 != 0) continue;
    std::string text = " ";
    append_utf8(text, c);
    text += "a";
    append_utf8(text, c);
    append_utf8(text, c);
    text += "中";
    append_utf8(text, c);
    text += "\n1";
    append_utf8(text, c);
    expect_same(pre_tokenizer, text);
  }
}

TEST(DeepseekScannerTest, SplitsRandomTextAsThePatternsDo) {
  const PreTokenizer pre_tokenizer = PreTokenizer::from_json(deepseek_json());
  const std::string_view parts[] = {
      " ", "  ", "\n", "\r\n", "\t", "a", "Zq", "é", "1", "12", "½", "中", "々", "カ", "\u3040",
      "゛", "・", "゠", "\u3099", "\u0301", "ा", "!", "$", "'s", "。", "（", "😀", "\u200D", "\x01",
      "\x02", "\u00A0", "\u3000", "\u2028", "\u0085", "\uFFFD", "\U000E0001", "\uE000", "ſ", "、"};
  std::mt19937 random(11);
  for (int round = 0; round < 50000; ++round) {
    std::string text;
    for (size_t i = random() % 12 + 1; i > 0; --i) text += parts[random() % std::size(parts)];
    expect_same(pre_tokenizer, text);
  }
}

}  // namespace
}  // namespace dsv3
