#include "ops/experts.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "ops/test_data.h"

namespace dsv3::ops {
namespace {

MlpWeights random_mlp(int64_t hidden, int64_t intermediate, Random& random,
                      DType dtype = DType::kF32) {
  if (dtype == DType::kF8E4M3) {
    return {random.fp8_weight(intermediate, hidden), random.fp8_weight(intermediate, hidden),
            random.fp8_weight(hidden, intermediate)};
  }
  return {random.weight(intermediate, hidden, dtype), random.weight(intermediate, hidden, dtype),
          random.weight(hidden, intermediate, dtype)};
}

// A sum in double, and how far its float32 value may be off.
struct Sum {
  double value = 0, error = 0;
};

// sum of w[row, i] * x[i], where each x[i] may be off already.
Sum product(const Rows& w, int64_t row, const std::vector<Sum>& x) {
  Sum sum;
  double magnitude = 0;
  for (int64_t i = 0; i < w.cols; ++i) {
    sum.value += w.at(row, i) * x[i].value;
    sum.error += std::fabs(w.at(row, i)) * x[i].error;
    magnitude += std::fabs(w.at(row, i) * x[i].value);
  }
  sum.error += static_cast<double>(w.cols) * kRounding * magnitude;
  return sum;
}

// down(silu(gate(x)) * up(x)) of one token.
std::vector<Sum> reference(const MlpWeights& w, const float* x) {
  const Rows gate = decoded(w.gate_proj), up = decoded(w.up_proj), down = decoded(w.down_proj);
  std::vector<Sum> input(gate.cols), hidden(gate.rows), out(down.rows);
  for (int64_t i = 0; i < gate.cols; ++i) input[i].value = x[i];
  for (int64_t i = 0; i < gate.rows; ++i) {
    const Sum g = product(gate, i, input), u = product(up, i, input);
    const double silu = g.value / (1 + std::exp(-g.value));
    hidden[i].value = silu * u.value;
    // |silu'| < 1.1; exp, division and products round a few times more.
    hidden[i].error = 1.1 * g.error * std::fabs(u.value) + std::fabs(silu) * u.error +
                      16 * kRounding * std::fabs(hidden[i].value);
  }
  for (int64_t i = 0; i < down.rows; ++i) out[i] = product(down, i, hidden);
  return out;
}

struct Case {
  int64_t hidden, intermediate, experts, per_token, tokens;
  DType dtype = DType::kF32;
};

Routing random_routing(const Case& c, Random& random) {
  Routing routing;
  for (int64_t t = 0; t < c.tokens; ++t) {
    std::vector<int32_t> all(c.experts);
    for (int64_t e = 0; e < c.experts; ++e) all[e] = static_cast<int32_t>(e);
    for (int64_t k = 0; k < c.per_token; ++k)
      std::swap(all[k], all[random.integer(k, c.experts - 1)]);
    std::sort(all.begin(), all.begin() + c.per_token);
    routing.experts.insert(routing.experts.end(), all.begin(), all.begin() + c.per_token);
    for (int64_t k = 0; k < c.per_token; ++k) routing.weights.push_back(std::fabs(random.normal()));
  }
  return routing;
}

// The naive loop over tokens and their experts.
void expect_equals_loop(const Case& c, Rows& x, const Routing& routing,
                        const std::vector<MlpWeights>& experts, const MlpWeights* shared) {
  Rows y(c.tokens, c.hidden, NAN);
  mixture_of_experts(x.matrix(), routing, c.per_token, experts, shared, y.matrix());
  for (int64_t t = 0; t < c.tokens; ++t) {
    std::vector<Sum> expected(c.hidden);
    const auto add = [&](const MlpWeights& w, double weight) {
      const std::vector<Sum> out = reference(w, &x.data[t * c.hidden]);
      for (int64_t i = 0; i < c.hidden; ++i) {
        const double term = weight * out[i].value;
        expected[i].value += term;
        expected[i].error += weight * out[i].error +
                             static_cast<double>(c.per_token + 2) * kRounding * std::fabs(term);
      }
    };
    for (int64_t k = 0; k < c.per_token; ++k) {
      add(experts[routing.experts[t * c.per_token + k]], routing.weights[t * c.per_token + k]);
    }
    if (shared != nullptr) add(*shared, 1);
    for (int64_t i = 0; i < c.hidden; ++i) {
      ASSERT_NEAR(y.at(t, i), expected[i].value, expected[i].error)
          << "token " << t << " of " << c.tokens << ", channel " << i << ", "
          << dtype_name(c.dtype);
    }
  }
}

TEST(ExpertsTest, MixtureEqualsALoopOverTokens) {
  Random random(1);
  for (const Case& c : std::vector<Case>{{64, 12, 12, 4, 9},
                                         {33, 7, 5, 2, 20},
                                         {40, 70, 3, 3, 1},
                                         {48, 33, 6, 1, 17, DType::kBF16},
                                         {150, 136, 3, 2, 5, DType::kF8E4M3}}) {
    std::vector<MlpWeights> experts;
    for (int64_t e = 0; e < c.experts; ++e)
      experts.push_back(random_mlp(c.hidden, c.intermediate, random, c.dtype));
    const MlpWeights shared = random_mlp(c.hidden, 2 * c.intermediate, random, c.dtype);
    Rows x = random.rows(c.tokens, c.hidden);
    const Routing routing = random_routing(c, random);
    expect_equals_loop(c, x, routing, experts, &shared);
    expect_equals_loop(c, x, routing, experts, nullptr);
  }
}

TEST(ExpertsTest, AllTokensOnOneExpertAndNoneOnTheOthers) {
  Random random(2);
  const Case c{48, 20, 4, 1, 70};
  std::vector<MlpWeights> experts;
  for (int64_t e = 0; e < c.experts; ++e)
    experts.push_back(random_mlp(c.hidden, c.intermediate, random));
  Rows x = random.rows(c.tokens, c.hidden);
  const Routing routing{std::vector<int32_t>(c.tokens, 2), std::vector<float>(c.tokens, 0.5f)};
  expect_equals_loop(c, x, routing, experts, nullptr);
}

TEST(ExpertsTest, ATokensResultIsTheSameAloneInABatchAndWithAnyNumberOfThreads) {
  Random random(3);
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF8E4M3}) {
    const Case c{150, 40, 6, 3, 37, dtype};
    std::vector<MlpWeights> experts;
    for (int64_t e = 0; e < c.experts; ++e)
      experts.push_back(random_mlp(c.hidden, c.intermediate, random, dtype));
    const MlpWeights shared = random_mlp(c.hidden, c.intermediate, random, dtype);
    Rows x = random.rows(c.tokens, c.hidden), together(c.tokens, c.hidden),
         alone(c.tokens, c.hidden);
    const Routing routing = random_routing(c, random);
    for (const auto fp8 : {Activations::kFloat32, Activations::kFp8}) {
      mixture_of_experts(x.matrix(), routing, c.per_token, experts, &shared, together.matrix(),
                         fp8);
      for (int64_t t = 0; t < c.tokens; ++t) {
        const auto begin = t * c.per_token, end = begin + c.per_token;
        const Routing one{{routing.experts.begin() + begin, routing.experts.begin() + end},
                          {routing.weights.begin() + begin, routing.weights.begin() + end}};
        mixture_of_experts(x.matrix().row_range(t, t + 1), one, c.per_token, experts, &shared,
                           alone.matrix().row_range(t, t + 1), fp8);
      }
      EXPECT_TRUE(same_bits(together.data, alone.data)) << dtype_name(dtype);
      for (const int threads : {1, 2, 3}) {
        const ThreadCount count(threads);
        mixture_of_experts(x.matrix(), routing, c.per_token, experts, &shared, alone.matrix(), fp8);
        EXPECT_TRUE(same_bits(together.data, alone.data))
            << dtype_name(dtype) << ", " << threads << " threads";
      }
    }
  }
}

TEST(ExpertsTest, AnMlpIsASharedExpertByItself) {
  Random random(4);
  const MlpWeights w = random_mlp(60, 50, random);
  Rows x = random.rows(5, 60), y(5, 60), mixed(5, 60);
  mlp(x.matrix(), w, y.matrix());
  mixture_of_experts(x.matrix(), {}, 0, {}, &w, mixed.matrix());
  EXPECT_TRUE(same_bits(y.data, mixed.data));
}

// Checkpoints may leave some modules out of FP8 (modules_to_not_convert): their inputs are not to
// be quantised.
TEST(ExpertsTest, OnlyInputsOfFp8WeightsAreQuantised) {
  Random random(5);
  const int64_t hidden = 130, intermediate = 20;
  const MlpWeights routed = random_mlp(hidden, intermediate, random, DType::kF8E4M3);
  const MlpWeights shared = random_mlp(hidden, intermediate, random);
  Rows x = random.rows(3, hidden), y(3, hidden), routed_only(3, hidden), shared_only(3, hidden);
  const Routing none{std::vector<int32_t>(3, 0), std::vector<float>(3, 0.0f)};
  mixture_of_experts(x.matrix(), none, 1, std::span(&routed, 1), &shared, y.matrix(),
                     Activations::kFp8);
  mlp(x.matrix(), shared, shared_only.matrix());
  EXPECT_EQ(y.data, shared_only.data);

  const Routing all{std::vector<int32_t>(3, 0), std::vector<float>(3, 1.0f)};
  mixture_of_experts(x.matrix(), all, 1, std::span(&routed, 1), nullptr, y.matrix(),
                     Activations::kFp8);
  mlp(x.matrix(), routed, routed_only.matrix(), Activations::kFp8);
  EXPECT_EQ(y.data, routed_only.data);
}

TEST(ExpertsTest, NoTokensIsNoWork) {
  Random random(6);
  const std::vector<MlpWeights> experts = {random_mlp(16, 8, random)};
  Rows x(0, 16), y(0, 16);
  mixture_of_experts(x.matrix(), {}, 2, experts, experts.data(), y.matrix());
  mlp(x.matrix(), experts[0], y.matrix());
}

TEST(ExpertsTest, ChoicesThatDoNotFitTheTokensAreRefused) {
  Random random(7);
  const std::vector<MlpWeights> experts = {random_mlp(16, 8, random)};
  Rows x(2, 16), y(2, 16);
  EXPECT_THROW(mixture_of_experts(x.matrix(), {{0}, {1.0f}}, 1, experts, nullptr, y.matrix()),
               Error);
}

}  // namespace
}  // namespace dsv3::ops
