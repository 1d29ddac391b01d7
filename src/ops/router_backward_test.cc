// Gradients of the router and of the sequence-wise balance loss against differences of a reference
// in double, in which the choice of experts is fixed: it has no gradient.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "ops/finite_differences.h"
#include "ops/router.h"

namespace dsv3::ops {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct Reference {
  const RoutingRule& rule;
  const Routing& routing;
  std::vector<int64_t> lengths;
  int64_t hidden;
  std::vector<double> x, gate;  // [tokens, hidden], [experts, hidden]

  std::vector<double> scores(int64_t t) const {
    std::vector<double> s(rule.n_routed_experts);
    for (int64_t e = 0; e < rule.n_routed_experts; ++e) {
      double logit = 0;
      for (int64_t i = 0; i < hidden; ++i) logit += x[t * hidden + i] * gate[e * hidden + i];
      s[e] = sigmoid(logit);
    }
    return s;
  }

  // sum(weights * d_weights)
  double weighted(std::span<const float> d_weights) const {
    const int64_t k = rule.num_experts_per_tok;
    const auto tokens = static_cast<int64_t>(x.size()) / hidden;
    double loss = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      const std::vector<double> s = scores(t);
      double sum = 0;
      for (int64_t i = 0; i < k; ++i) sum += s[routing.experts[t * k + i]];
      for (int64_t i = 0; i < k; ++i) {
        const double w = s[routing.experts[t * k + i]] / (rule.norm_topk_prob ? sum : 1);
        loss += w * double{rule.routed_scaling_factor} * d_weights[t * k + i];
      }
    }
    return loss;
  }

  // Report equations 17 to 20 without alpha, one by one: sum over the sequences of their length
  // times sum_i f_i P_i, f_i counting how often expert i is among the best of a token.
  std::vector<int32_t> best;  // [tokens * k], of the scores before anything was moved
  double balance() const {
    const int64_t n = rule.n_routed_experts, k = rule.num_experts_per_tok;
    double loss = 0;
    int64_t begin = 0;
    for (const int64_t length : lengths) {
      const auto count = static_cast<double>(length);
      for (int64_t i = 0; i < n; ++i) {
        double chosen = 0, p = 0;
        for (int64_t t = begin; t < begin + length; ++t) {
          const auto experts = std::span(best).subspan(t * k, k);
          chosen += std::find(experts.begin(), experts.end(), i) != experts.end() ? 1 : 0;
          const std::vector<double> s = scores(t);
          p += s[i] / std::accumulate(s.begin(), s.end(), 0.0);  // (19)
        }
        const double f =
            static_cast<double>(n) / (static_cast<double>(k) * count) * chosen;  // (18)
        loss += count * f * (p / count);                                         // (20), (17)
      }
      begin += length;
    }
    return loss;
  }
};

void expect_gradients(const RoutingRule& rule, const std::vector<int64_t>& lengths,
                      double token_weight, DType dtype = DType::kF32) {
  SCOPED_TRACE(testing::Message() << rule.n_routed_experts << " experts, " << rule.n_group
                                  << " groups, balance " << token_weight);
  Random random(1);
  const int64_t hidden = 24, n = rule.n_routed_experts,
                tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const LinearWeight gate = random.weight(n, hidden, dtype);
  std::vector<float> bias(n), logits;
  for (float& b : bias) b = random.normal(0.1f);
  Rows x = random.rows(tokens, hidden), dx(tokens, hidden, kBefore);
  const Routing routing = route_tokens(x.matrix(), gate, bias, rule, &logits);
  Rows d_weights = random.rows(tokens, rule.num_experts_per_tok);
  LinearWeight d_gate = gradient_for(gate);
  const double balance =
      route_tokens_backward(x.matrix(), gate, rule, logits, routing, d_weights.data,
                            {lengths, token_weight}, dx.matrix(), d_gate);

  Reference r{rule, routing, lengths, hidden, doubles(x), doubles(decoded(gate))};
  // With a bias of 0 and one group, the experts of the best scores.
  RoutingRule plain = rule;
  plain.n_group = plain.topk_group = 1;
  r.best = route_tokens(x.matrix(), gate, std::vector<float>(n, 0.0f), plain).experts;
  // Scores are float32 sigmoids of sums of `hidden` products.
  const double bound = (2 * static_cast<double>(hidden) + 8) * kRounding;
  EXPECT_NEAR(balance, token_weight * r.balance(), bound * token_weight * r.balance());
  if (dtype == DType::kBF16) return;
  const auto loss = [&] {
    return r.weighted(d_weights.data) + (token_weight == 0 ? 0 : token_weight * r.balance());
  };
  const auto roundings = static_cast<double>(hidden + tokens + n + 16);
  expect_gradient("dx", r.x, received(dx.data), roundings, loss);
  expect_gradient("gate", r.gate, received(d_gate), roundings, loss);
}

const RoutingRule kRules[] = {{8, 1, 1, 2, true, 2.5f},
                              {12, 4, 2, 4, true, 1},
                              {6, 3, 2, 2, false, 1.75f},
                              {5, 1, 1, 5, true, 1},
                              {4, 1, 1, 1, false, 3}};

TEST(RouterBackwardTest, BackwardMatchesFiniteDifferences) {
  for (const RoutingRule& rule : kRules) expect_gradients(rule, {17}, 0);
}

TEST(RouterBackwardTest, BalanceLossAndItsGradientMatchTheReportsEquations) {
  for (const RoutingRule& rule : kRules) {
    expect_gradients(rule, {17}, 0.5);
    expect_gradients(rule, {1, 9, 4}, 0.125);
    expect_gradients(rule, {5, 3}, 0.25, DType::kBF16);
  }
}

TEST(RouterBackwardTest, OneNormalisedExpertHasNoGradient) {
  // Its weight is the factor, whatever the score.
  const RoutingRule rule{.n_routed_experts = 4, .num_experts_per_tok = 1};
  Random random(2);
  const LinearWeight gate = random.weight(4, 9);
  Rows x = random.rows(7, 9), dx(7, 9);
  std::vector<float> logits;
  const Routing routing = route_tokens(x.matrix(), gate, std::vector<float>(4), rule, &logits);
  LinearWeight d_gate = gradient_for(gate);
  route_tokens_backward(x.matrix(), gate, rule, logits, routing, std::vector<float>(7, 3.0f), {},
                        dx.matrix(), d_gate);
  for (const float d : dx.data) EXPECT_NEAR(d, 0, 1e-12);
}

TEST(RouterBackwardTest, BalanceLossIsOneWhenAllExpertsAreEquallyLikelyAndGrowsWithSkew) {
  const RoutingRule rule{.n_routed_experts = 4, .num_experts_per_tok = 1};
  LinearWeight gate;
  gate.weight = Tensor(DType::kF32, {4, 1});
  LinearWeight d_gate = gradient_for(gate);
  Rows x(8, 1, 1), dx(8, 1);
  const std::vector<int64_t> lengths = {8};
  const auto loss = [&](const std::vector<float>& logits, const Routing& routing) {
    return route_tokens_backward(x.matrix(), gate, rule, logits, routing,
                                 std::vector<float>(8, 0.0f), {lengths, 1.0 / 8}, dx.matrix(),
                                 d_gate);
  };
  const Routing even{{0, 1, 2, 3, 0, 1, 2, 3}, std::vector<float>(8, 1)};
  EXPECT_NEAR(loss(std::vector<float>(32, 0.0f), even), 1, 1e-12);
  // All on expert 0, whose score is 1/2 where the others' are 1/4: 4 * (1/2) / (5/4).
  std::vector<float> skewed(32, -std::log(3.0f));
  for (int t = 0; t < 8; ++t) skewed[t * 4] = 0;
  const Routing one{std::vector<int32_t>(8, 0), std::vector<float>(8, 1)};
  EXPECT_NEAR(loss(skewed, one), 1.6, 1e-6);
}

TEST(RouterBackwardTest, AnyNumberOfThreadsGivesTheSameBits) {
  const RoutingRule rule = kRules[1];
  Random random(3);
  const LinearWeight gate = random.weight(12, 24);
  Rows x = random.rows(300, 24), d_weights = random.rows(300, 4);
  std::vector<float> logits;
  const Routing routing =
      route_tokens(x.matrix(), gate, std::vector<float>(12, 0.0f), rule, &logits);
  const std::vector<int64_t> lengths = {100, 200};
  std::vector<std::vector<double>> found;
  for (const int threads : {1, 2, 3}) {
    const ThreadCount count(threads);
    Rows dx(300, 24);
    LinearWeight d_gate = gradient_for(gate);
    const double balance =
        route_tokens_backward(x.matrix(), gate, rule, logits, routing, d_weights.data,
                              {lengths, 0.01}, dx.matrix(), d_gate);
    std::vector<double>& all = found.emplace_back(received(d_gate));
    for (const float d : dx.data) all.push_back(d);
    all.push_back(balance);
  }
  EXPECT_EQ(found[0], found[1]);
  EXPECT_EQ(found[0], found[2]);
}

}  // namespace
}  // namespace dsv3::ops
