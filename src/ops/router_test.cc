#include "ops/router.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "ops/test_data.h"

namespace dsv3::ops {
namespace {

struct Choice {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

Choice routed(const RoutingRule& rule, const std::vector<float>& scores,
              const std::vector<float>& bias) {
  Choice c{std::vector<int32_t>(rule.num_experts_per_tok),
           std::vector<float>(rule.num_experts_per_tok)};
  route(scores, bias, rule, c.experts, c.weights);
  return c;
}

// Report 2.1.2 and DeepseekV3MoE once more: by sorting, in double.
Choice reference(const RoutingRule& rule, const std::vector<float>& scores,
                 const std::vector<float>& bias) {
  const int64_t n = rule.n_routed_experts, group_size = n / rule.n_group;
  std::vector<float> choice(n);
  for (int64_t e = 0; e < n; ++e) choice[e] = scores[e] + bias[e];
  std::vector<int64_t> groups(rule.n_group);
  std::iota(groups.begin(), groups.end(), 0);
  const auto group_score = [&](int64_t g) {
    std::vector<float> members(choice.begin() + g * group_size,
                               choice.begin() + (g + 1) * group_size);
    std::sort(members.rbegin(), members.rend());
    return members[0] + (group_size > 1 ? members[1] : 0.0f);
  };
  std::stable_sort(groups.begin(), groups.end(),
                   [&](int64_t a, int64_t b) { return group_score(a) > group_score(b); });
  std::vector<int32_t> candidates;
  for (int64_t g = 0; g < rule.topk_group; ++g) {
    for (int64_t e = 0; e < group_size; ++e)
      candidates.push_back(static_cast<int32_t>(groups[g] * group_size + e));
  }
  std::sort(candidates.begin(), candidates.end());
  std::stable_sort(candidates.begin(), candidates.end(),
                   [&](int32_t a, int32_t b) { return choice[a] > choice[b]; });
  candidates.resize(rule.num_experts_per_tok);
  std::sort(candidates.begin(), candidates.end());
  double sum = 0;
  for (const int32_t e : candidates) sum += scores[e];
  Choice result{candidates, {}};
  for (const int32_t e : candidates) {
    const double weight = rule.norm_topk_prob ? scores[e] / (sum + 1e-20) : scores[e];
    result.weights.push_back(static_cast<float>(weight * rule.routed_scaling_factor));
  }
  return result;
}

TEST(RouterTest, CombineWeightsIgnoreCorrectionBias) {
  const RoutingRule rule{
      .n_routed_experts = 4, .num_experts_per_tok = 2, .routed_scaling_factor = 2.5};
  // Without the bias experts 0 and 1 would be chosen.
  const Choice c = routed(rule, {0.9f, 0.8f, 0.3f, 0.1f}, {0, 0, 5, 5});
  EXPECT_EQ(c.experts, (std::vector<int32_t>{2, 3}));
  EXPECT_FLOAT_EQ(c.weights[0], 0.75f * 2.5f);
  EXPECT_FLOAT_EQ(c.weights[1], 0.25f * 2.5f);
}

TEST(RouterTest, GroupScoreIsTheSumOfItsTwoBest) {
  const RoutingRule rule{
      .n_routed_experts = 6, .n_group = 2, .topk_group = 1, .num_experts_per_tok = 1};
  // The best expert is in group 0, the best pair in group 1; the third of group 0 must not count.
  const Choice c = routed(rule, {0.9f, 0.1f, 0.1f, 0.6f, 0.0f, 0.5f}, std::vector<float>(6, 0));
  EXPECT_EQ(c.experts, (std::vector<int32_t>{3}));
}

TEST(RouterTest, GroupScoreUsesBiasedScores) {
  const RoutingRule rule{
      .n_routed_experts = 4, .n_group = 2, .topk_group = 1, .num_experts_per_tok = 1};
  EXPECT_EQ(routed(rule, {0.9f, 0.9f, 0.5f, 0.4f}, {0, 0, 1, 1}).experts,
            (std::vector<int32_t>{2}));
}

TEST(RouterTest, UnchosenGroupsAreMinusInfinityEvenIfAllBiasedScoresAreNegative) {
  // With zeros for the experts of the other group, one of those would win.
  const RoutingRule rule{
      .n_routed_experts = 4, .n_group = 2, .topk_group = 1, .num_experts_per_tok = 2};
  const Choice c = routed(rule, {0.2f, 0.1f, 0.4f, 0.3f}, {-1, -1, -1, -1});
  EXPECT_EQ(c.experts, (std::vector<int32_t>{2, 3}));
  EXPECT_FLOAT_EQ(c.weights[0] + c.weights[1], 1);
}

TEST(RouterTest, WithoutNormalisationWeightsAreStillScaled) {
  const RoutingRule rule{.n_routed_experts = 3,
                         .num_experts_per_tok = 2,
                         .norm_topk_prob = false,
                         .routed_scaling_factor = 2.5};
  const Choice c = routed(rule, {0.2f, 0.6f, 0.4f}, {0, 0, 0});
  EXPECT_EQ(c.experts, (std::vector<int32_t>{1, 2}));
  EXPECT_FLOAT_EQ(c.weights[0], 1.5f);
  EXPECT_FLOAT_EQ(c.weights[1], 1.0f);
}

TEST(RouterTest, TiesGoToTheLowerIndex) {
  const RoutingRule rule{
      .n_routed_experts = 8, .n_group = 4, .topk_group = 2, .num_experts_per_tok = 3};
  const Choice c = routed(rule, std::vector<float>(8, 0.5f), std::vector<float>(8, 0));
  EXPECT_EQ(c.experts, (std::vector<int32_t>{0, 1, 2}));
}

TEST(RouterTest, ZeroScoresGiveZeroWeightsAndNoDivisionByZero) {
  const RoutingRule rule{.n_routed_experts = 4, .num_experts_per_tok = 2};
  EXPECT_EQ(routed(rule, {0, 0, 0, 0}, {1, 2, 3, 4}).weights, (std::vector<float>{0, 0}));
}

TEST(RouterTest, NotANumberShowsInTheWeights) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const RoutingRule rule{
      .n_routed_experts = 8, .n_group = 4, .topk_group = 2, .num_experts_per_tok = 2};
  for (int bad = 0; bad < 8; ++bad) {
    std::vector<float> scores = {0.8f, 0.7f, 0.6f, 0.5f, 0.4f, 0.3f, 0.2f, 0.1f};
    scores[bad] = nan;
    const Choice c = routed(rule, scores, std::vector<float>(8, 0));
    for (const int32_t e : c.experts) EXPECT_TRUE(e >= 0 && e < 8);
    EXPECT_LT(c.experts[0], c.experts[1]);
    // A NaN that is not chosen would otherwise make an expert vanish in silence.
    for (const float w : c.weights) EXPECT_TRUE(std::isnan(w)) << "NaN in expert " << bad;
  }
  const Choice all = routed(rule, std::vector<float>(8, nan), std::vector<float>(8, nan));
  EXPECT_LT(all.experts[0], all.experts[1]);
}

TEST(RouterTest, EqualsBruteForceOnRandomScores) {
  const std::vector<RoutingRule> rules = {
      {256, 8, 4, 8, true, 2.5f}, {12, 4, 2, 4, true, 2.5f}, {10, 1, 1, 3, true, 1.7f},
      {32, 8, 8, 8, true, 1},     {16, 4, 1, 4, false, 3},   {6, 3, 2, 1, false, 1},
      {64, 1, 1, 64, true, 1},
  };
  Random random(1);
  for (const RoutingRule& rule : rules) {
    for (int round = 0; round < 100; ++round) {
      std::vector<float> scores(rule.n_routed_experts), bias(rule.n_routed_experts);
      for (auto& s : scores) s = 1 / (1 + std::exp(-random.normal(2)));
      // Negative on average in every other round; coarse in every third, so that there are ties.
      for (auto& b : bias) b = random.normal(0.3f) - (round % 2 != 0 ? 1.5f : 0.0f);
      if (round % 3 == 0) {
        for (auto& s : scores) s = std::round(s * 8) / 8;
        for (auto& b : bias) b = std::round(b * 2) / 2;
      }
      const Choice found = routed(rule, scores, bias), expected = reference(rule, scores, bias);
      ASSERT_EQ(found.experts, expected.experts)
          << rule.n_routed_experts << " experts, round " << round;
      for (size_t i = 0; i < found.weights.size(); ++i) {
        // A sum of k terms, a division, a product.
        const double bound =
            static_cast<double>(rule.num_experts_per_tok + 3) * kRounding * expected.weights[i];
        ASSERT_NEAR(found.weights[i], expected.weights[i], bound);
      }
    }
  }
}

TEST(RouterTest, RoutesAllTokensByTheSigmoidOfFloat32Logits) {
  Random random(2);
  const RoutingRule rule{12, 4, 2, 4, true, 2.5f};
  const LinearWeight gate = random.weight(12, 24, DType::kBF16);
  const Rows weights = decoded(gate);
  std::vector<float> bias(12);
  for (auto& b : bias) b = random.normal(0.1f);
  Rows x = random.rows(33, 24);
  std::vector<float> logits;
  const Routing routing = route_tokens(x.matrix(), gate, bias, rule, &logits);
  for (int64_t t = 0; t < x.rows; ++t) {
    std::vector<float> scores(12);
    for (int64_t e = 0; e < 12; ++e) {
      double sum = 0, absolute = 0;
      for (int64_t i = 0; i < 24; ++i) {
        sum += double{x.at(t, i)} * weights.at(e, i);
        absolute += std::fabs(double{x.at(t, i)} * weights.at(e, i));
      }
      EXPECT_NEAR(logits[t * 12 + e], sum, 24 * kRounding * absolute);
      scores[e] = static_cast<float>(1 / (1 + std::exp(-double{logits[t * 12 + e]})));
    }
    const Choice expected = reference(rule, scores, bias);
    for (int64_t i = 0; i < 4; ++i) {
      EXPECT_EQ(routing.experts[t * 4 + i], expected.experts[i]);
      EXPECT_NEAR(routing.weights[t * 4 + i], expected.weights[i], 1e-6);
    }
  }
}

TEST(RouterTest, ATokensRouteIsTheSameAloneAndInABatch) {
  Random random(3);
  const RoutingRule rule{32, 4, 2, 6, true, 2.5f};
  const LinearWeight gate = random.weight(32, 50);
  const std::vector<float> bias(32, 0.1f);
  Rows x = random.rows(40, 50);
  const Routing all = route_tokens(x.matrix(), gate, bias, rule);
  for (int64_t t = 0; t < x.rows; ++t) {
    const Routing one = route_tokens(x.matrix().row_range(t, t + 1), gate, bias, rule);
    EXPECT_TRUE(std::equal(one.experts.begin(), one.experts.end(), all.experts.begin() + t * 6));
    EXPECT_EQ(std::memcmp(one.weights.data(), &all.weights[t * 6], 6 * sizeof(float)), 0);
  }
}

}  // namespace
}  // namespace dsv3::ops
