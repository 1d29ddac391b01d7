#include "generation/scoring.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "generation/random.h"
#include "generation/row_math.h"
#include "generation/warpers.h"

namespace dsv3::generation {
namespace {

using Row = std::vector<float>;
constexpr float kBanned = kMinusInfinity;

TEST(ProcessorsTest, RepetitionPenaltyDividesPositiveAndMultipliesNegativeScoresOnce) {
  Row scores = {2, -2, 0, 3, 4};
  penalise_repetition(scores, std::vector<int64_t>{0, 1, 2, 0, 1, 3}, 2.0);
  EXPECT_EQ(scores, (Row{1, -4, 0, 1.5, 4}));
}

TEST(ProcessorsTest, PresenceAndFrequencyCountGeneratedTokensOnly) {
  Row scores = {1, 1, 1, 1};
  GenerationConfig config;
  config.presence_penalty = 0.5;
  config.frequency_penalty = 0.25;
  const std::vector<int64_t> history = {0, 0, 3, 1, 2, 1, 1};  // prompt: the first three
  process_scores(config, {history, 3}, 100, scores, "row");
  EXPECT_EQ(scores, (Row{1, 1 - 0.75f - 0.5f, 1 - 0.25f - 0.5f, 1}));
}

TEST(ProcessorsTest, RepeatedNgramsAreBannedAcrossPromptAndNewTokens) {
  Row scores(6, 1.0f);
  const std::vector<int64_t> history = {1, 2, 3, 1, 2, 4, 1, 2};
  ban_repeated_ngrams(scores, history, history, 3);
  EXPECT_EQ(scores, (Row{1, 1, 1, kBanned, kBanned, 1}));
}

TEST(ProcessorsTest, LogitBiasIsAddedAndUnknownTokensAreRefused) {
  Row scores = {1, 1};
  add_logit_bias(scores, {{1, -100.0}});
  EXPECT_EQ(scores, (Row{1, -99}));
  EXPECT_THROW(add_logit_bias(scores, {{2, 1.0}}), Error);
  EXPECT_THROW(ban_bad_words(scores, {}, std::vector<TokenSequence>{{7}}, {}), Error);
}

TEST(ProcessorsTest, ForcedBosFollowsAPromptOfOneTokenAndSuppressionWaitsForIt) {
  GenerationConfig config;
  config.forced_bos_token_id = 2;
  config.begin_suppress_tokens = {1};
  Row scores = {5, 6, 1};
  process_scores(config, {std::vector<int64_t>{0}, 1}, 100, scores, "row");
  EXPECT_EQ(scores, (Row{kBanned, kBanned, 0}));
  scores = {5, 6, 1};
  process_scores(config, {std::vector<int64_t>{0, 2}, 1}, 100, scores, "row");
  EXPECT_EQ(scores, (Row{5, kBanned, 1}));
}

TEST(ProcessorsTest, NotANumberIsAnErrorUnlessInvalidValuesAreRemoved) {
  GenerationConfig config;
  const std::vector<int64_t> history = {0};
  Row scores = {1, std::nanf(""), INFINITY, -INFINITY};
  try {
    process_scores(config, {history, 1}, 100, scores, "sequence 3, new token 5");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(
        std::string(e.what()).find("sequence 3, new token 5: the model's logit of token 1 is nan"),
        std::string::npos);
  }
  config.remove_invalid_values = true;
  process_scores(config, {history, 1}, 100, scores, "row");
  const float largest = std::numeric_limits<float>::max();
  EXPECT_EQ(scores, (Row{1, 0, largest, -largest}));
}

TEST(WarpersTest, TopKKeepsTiesWithTheLast) {
  Row scores = {1, 3, 2, 2, 0};
  warp_top_k(scores, 2);
  EXPECT_EQ(scores, (Row{kBanned, 3, 2, 2, kBanned}));
}

TEST(WarpersTest, TopPKeepsTheTokenThatReachesIt) {
  const Row probabilities = {0.1f, 0.5f, 0.05f, 0.35f};
  Row scores;
  for (const float p : probabilities) scores.push_back(std::log(p));
  const auto kept = [&](double top_p) {
    Row row = scores;
    warp_top_p(row, top_p);
    std::vector<int> tokens;
    for (int i = 0; i < 4; ++i) {
      if (row[static_cast<size_t>(i)] != kBanned) tokens.push_back(i);
    }
    return tokens;
  };
  EXPECT_EQ(kept(0.4), (std::vector<int>{1}));
  EXPECT_EQ(kept(0.51), (std::vector<int>{1, 3}));
  EXPECT_EQ(kept(0.84), (std::vector<int>{1, 3}));
  EXPECT_EQ(kept(0.86), (std::vector<int>{0, 1, 3}));
  EXPECT_EQ(kept(1e-9), (std::vector<int>{1}));
}

TEST(WarpersTest, TopPOfEqualScoresKeepsTheOneGreedySearchTakes) {
  Row scores = {1, 2, 2, 2};
  warp_top_p(scores, 0.01);
  EXPECT_EQ(scores, (Row{kBanned, 2, kBanned, kBanned}));
  EXPECT_EQ(argmax(scores), 1);
}

TEST(WarpersTest, OneTokenVocabularySurvivesAll) {
  GenerationConfig config;
  config.apply(
      R"({"do_sample": true, "temperature": 0.5, "top_p": 0.5, "min_p": 1.0, "typical_p": 0.5,
                   "top_h": 0.5, "epsilon_cutoff": 0.99, "eta_cutoff": 0.99})");
  Row scores = {3};
  process_scores(config, {std::vector<int64_t>{0}, 1}, 100, scores, "row");
  EXPECT_EQ(scores, (Row{6}));
}

TEST(RowMathTest, KthLargestAgreesWithSortingOnBothWays) {
  Row scores(2000);
  for (size_t i = 0; i < scores.size(); ++i)
    scores[i] = static_cast<float>(uniform(1, 2, 3, static_cast<uint32_t>(i)));
  Row sorted = scores;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  for (const int64_t k : {1, 2, 50, 256, 257, 1000, 2000, 5000}) {
    EXPECT_EQ(kth_largest(scores, k), sorted[static_cast<size_t>(std::min<int64_t>(k, 2000) - 1)])
        << k;
  }
}

TEST(RowMathTest, ArgmaxIsTheFirstOfEqualsWhereverItIs) {
  for (const size_t n : {1, 5, 31, 32, 33, 64, 100}) {
    for (size_t at = 0; at < n; ++at) {
      Row scores(n, -1.0f);
      scores[at] = 2;
      scores[n - 1] = 2;
      EXPECT_EQ(argmax(scores), static_cast<int64_t>(at));
    }
  }
  EXPECT_EQ(argmax(Row(40, kBanned)), 0);
}

TEST(RowMathTest, NormalisingARowOfBannedTokensLeavesThemBanned) {
  Row scores(40, kBanned);
  log_softmax_in_place(scores);
  EXPECT_EQ(scores, Row(40, kBanned));
}

TEST(LogprobsTest, AreOfTheModelsOwnDistribution) {
  const Row logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  const TokenLogprobs result = token_logprobs(logits, 0, 2);
  EXPECT_NEAR(result.logprob, std::log(0.2f), 1e-6);
  ASSERT_EQ(result.top.size(), 2u);
  EXPECT_EQ(result.top[0].first, 1);
  EXPECT_EQ(result.top[1].first, 2);
  EXPECT_NEAR(result.top[1].second, std::log(0.3f), 1e-6);
  EXPECT_EQ(token_logprobs(logits, 0, 99).top.size(), 3u);
}

// Vectors of the Random123 library, kat_vectors.
TEST(RandomTest, PhiloxGivesThePublishedNumbers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomTest, UniformFillsTheUnitInterval) {
  std::vector<int> bins(16);
  double sum = 0;
  constexpr int kDraws = 16000;
  for (uint32_t i = 0; i < kDraws; ++i) {
    const double u = uniform(5, i % 40, i / 40);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    ++bins[static_cast<size_t>(u * 16)];
    sum += u;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 4 * std::sqrt(1.0 / 12 / kDraws));
  for (const int n : bins) EXPECT_NEAR(n, 1000, 5 * std::sqrt(1000.0));
}

TEST(SamplingTest, TokensComeWithTheirProbabilities) {
  const Row probabilities = {0.05f, 0.4f, 0, 0.25f, 0.3f};
  Row scores;
  for (const float p : probabilities) scores.push_back(std::log(p));
  constexpr int kDraws = 20000;
  std::vector<int> counts(5);
  for (uint32_t i = 0; i < kDraws; ++i)
    ++counts[static_cast<size_t>(sample_token(scores, uniform(11, 0, i)))];
  double chi_squared = 0;
  for (size_t i = 0; i < 5; ++i) {
    const double expected = static_cast<double>(probabilities[i]) * kDraws;
    if (expected > 0) chi_squared += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  EXPECT_EQ(counts[2], 0);
  EXPECT_LT(chi_squared, 16.3);  // 3 degrees of freedom: exceeded once in a thousand seeds
}

TEST(SamplingTest, EndsOfTheUnitIntervalGiveFirstAndLastPossibleToken) {
  const Row scores = {kBanned, 0, 0, kBanned};
  EXPECT_EQ(sample_token(scores, 0), 1);
  EXPECT_EQ(sample_token(scores, 0.4999), 1);
  EXPECT_EQ(sample_token(scores, 0.5), 2);
  EXPECT_EQ(sample_token(scores, std::nextafter(1.0, 0.0)), 2);
  EXPECT_THROW(sample_token(Row{kBanned, kBanned}, 0.5), Error);
}

}  // namespace
}  // namespace dsv3::generation
