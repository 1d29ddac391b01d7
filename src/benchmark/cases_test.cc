#include "benchmark/cases.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace dsv3::benchmark {
namespace {

using Numbers = std::vector<int64_t>;

TEST(CasesTest, ListsAndRangesAreRead) {
  EXPECT_EQ(parse_numbers("128", 0), Numbers({128}));
  EXPECT_EQ(parse_numbers("128,512,0", 0), Numbers({128, 512, 0}));
  EXPECT_EQ(parse_numbers("1-4", 1), Numbers({1, 2, 3, 4}));
  EXPECT_EQ(parse_numbers("0-4096+1024", 0), Numbers({0, 1024, 2048, 3072, 4096}));
  EXPECT_EQ(parse_numbers("1-9*2,16", 1), Numbers({1, 2, 4, 8, 16}));
  EXPECT_EQ(parse_numbers("0-0*2", 0), Numbers({0}));
  EXPECT_EQ(parse_numbers("9223372036854775807-9223372036854775807", 0),
            Numbers({9223372036854775807}));
}

TEST(CasesTest, WhatIsNoListIsRefused) {
  for (const char* text : {"", ",", "1,", "x", "1x", "-1", "1,,2", "4-1", "1-8*1", "1-8+0", "0-8*2",
                           "1-", "1-2-3", "99999999999999999999", "1 2", "1.5", "0-100000"}) {
    EXPECT_THROW(parse_numbers(text, 0), Error) << text;
  }
  EXPECT_THROW(parse_numbers("0", 1), Error);
}

TEST(CasesTest, NamesAreThoseOfLlamaBench) {
  EXPECT_EQ((Case{.prompt = 512}).name(), "pp512");
  EXPECT_EQ((Case{.prompt = 512, .depth = 4096}).name(), "pp512 @ d4096");
  EXPECT_EQ((Case{.generated = 64}).name(), "tg64");
  EXPECT_EQ((Case{.generated = 64, .batch = 8}).name(), "tg64 x8");
  EXPECT_EQ((Case{.generated = 64, .depth = 32, .batch = 8}).name(), "tg64 x8 @ d32");
}

TEST(CasesTest, EveryCombinationIsThereOnce) {
  const std::vector<Case> cases = expand({.prompts = {128, 512},
                                          .generated = {64},
                                          .depths = {0, 4096},
                                          .batches = {1, 8},
                                          .threads = {1, 2}});
  ASSERT_EQ(cases.size(), 16u);
  std::vector<std::string> first;
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(cases[i].threads, 1);
    first.push_back(cases[i].name());
  }
  EXPECT_EQ(first, (std::vector<std::string>{"pp128", "pp512", "tg64", "tg64 x8", "pp128 @ d4096",
                                             "pp512 @ d4096", "tg64 @ d4096", "tg64 x8 @ d4096"}));
}

TEST(CasesTest, ZeroLeavesAKindOut) {
  const auto cases =
      expand({.prompts = {0}, .generated = {4}, .depths = {0}, .batches = {1}, .threads = {1}});
  ASSERT_EQ(cases.size(), 1u);
  EXPECT_EQ(cases[0].name(), "tg4");
  EXPECT_TRUE(
      expand({.prompts = {0}, .generated = {0}, .depths = {0}, .batches = {1}, .threads = {1}})
          .empty());
}

TEST(CasesTest, TokensAndLengthCountAllSequencesAndOne) {
  const Case decode{.generated = 64, .depth = 100, .batch = 8};
  EXPECT_EQ(decode.tokens(), 512);
  EXPECT_EQ(decode.length(), 164);
  const Case prompt{.prompt = 512, .depth = 100};
  EXPECT_EQ(prompt.tokens(), 512);
  EXPECT_EQ(prompt.length(), 612);
}

}  // namespace
}  // namespace dsv3::benchmark
