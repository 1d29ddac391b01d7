// Every kernel of the backward pass against a plain loop in double, in every variant. Bounds: a
// float32 sum of n products errs by at most n roundings of the sum of their magnitudes, whatever
// its order; each operation and exponential after it adds a few roundings of its result.
#include "kernels/elementwise/elementwise_backward.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "formats/float_formats.h"
#include "kernels/variants.h"

namespace dsv3::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kRounding = std::numeric_limits<float>::epsilon() / 2;

std::vector<float> random_floats(int64_t n, uint32_t seed, float spread = 1) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> values(n);
  for (float& v : values) v = normal(rng);
  return values;
}

class ElementwiseBackwardTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_variant(GetParam()); }
  void TearDown() override { force_variant("auto"); }
};

// All lengths up to a few vectors, and long ones.
std::vector<int64_t> lengths(int64_t from) {
  std::vector<int64_t> all = {127, 1000, 7168};
  for (int64_t n = from; n < 70; ++n) all.push_back(n);
  return all;
}

TEST_P(ElementwiseBackwardTest, RmsNormEqualsTheFormulaWrittenAddedAndInPlace) {
  constexpr float kEps = 1e-3f;
  for (const int64_t n : lengths(1)) {
    const auto x = random_floats(n, 1), w = random_floats(n, 2), dy = random_floats(n, 3);
    const auto dx_before = random_floats(n, 4), dw_before = random_floats(n, 5);
    auto dx = dx_before, dw = dw_before;
    rms_norm_backward(x.data(), w.data(), kEps, dy.data(), n, true, dx.data(), dw.data());

    double squares = 0, products = 0, magnitude = 0;
    for (int64_t i = 0; i < n; ++i) {
      squares += double{x[i]} * x[i];
      products += double{dy[i]} * w[i] * x[i];
      magnitude += std::fabs(double{dy[i]} * w[i] * x[i]);
    }
    const auto count = static_cast<double>(n);
    const double r = 1 / std::sqrt(squares / count + double{kEps});
    // r^3 errs by 3/2 of what the sum of squares does.
    const double bound = (3 * count + 16) * kRounding;
    for (int64_t i = 0; i < n; ++i) {
      const double direct = dy[i] * w[i] * r, along = r * r * r / count * x[i];
      ASSERT_NEAR(dx[i], dx_before[i] + direct - along * products,
                  bound * (std::fabs(direct) + std::fabs(along) * magnitude) +
                      2 * kRounding * std::fabs(dx_before[i]))
          << n << ": " << i;
      const double weight = dy[i] * r * x[i];
      ASSERT_NEAR(dw[i], dw_before[i] + weight,
                  bound * std::fabs(weight) + 2 * kRounding * std::fabs(dw_before[i]));
    }

    std::vector<float> written(n, kNan), from_zero(n, 0.0f);
    auto in_place = dy, dw_written = dw_before, dw_in_place = dw_before, dw_zero = dw_before;
    rms_norm_backward(x.data(), w.data(), kEps, dy.data(), n, false, written.data(),
                      dw_written.data());
    rms_norm_backward(x.data(), w.data(), kEps, in_place.data(), n, false, in_place.data(),
                      dw_in_place.data());
    rms_norm_backward(x.data(), w.data(), kEps, dy.data(), n, true, from_zero.data(),
                      dw_zero.data());
    EXPECT_EQ(written, from_zero);
    EXPECT_EQ(written, in_place);
    EXPECT_EQ(dw_written, dw);
    EXPECT_EQ(dw_in_place, dw);
  }
}

TEST_P(ElementwiseBackwardTest, SwigluEqualsTheFormulaAlsoAtTheEnds) {
  for (const int64_t n : lengths(0)) {
    auto gate = random_floats(n, 1, 5);
    const auto up_before = random_floats(n, 2), dy = random_floats(n, 3);
    if (n > 5) gate[0] = -200, gate[1] = 200, gate[2] = -88.9f, gate[3] = 0, gate[4] = -60;
    const auto gate_before = gate;
    auto up = up_before;
    std::vector<float> y(n, kNan);
    constexpr float kScale = 1.75f;
    const float d_scale = swiglu_backward(gate.data(), up.data(), dy.data(), kScale, n, y.data());
    double sum = 0, magnitude = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double g = gate_before[i], u = up_before[i], d = dy[i];
      const double sigmoid = 1 / (1 + std::exp(-g)), silu = g * sigmoid;
      sum += silu * u * d;
      magnitude += std::fabs(silu * u * d);
      // Below -88 the sigmoid stays at 6e-39, where it should go on falling.
      const double floor = 1e-35 * (1 + std::fabs(u)) * (1 + std::fabs(d));
      const double bound = 8 * kRounding;
      ASSERT_NEAR(y[i], silu * u, bound * std::fabs(silu * u) + floor) << g;
      ASSERT_NEAR(up[i], kScale * d * silu, bound * std::fabs(kScale * d * silu) + floor) << g;
      // In silu (1 - sigmoid) the difference errs by a rounding of 1.
      const double slope = sigmoid + silu * (1 - sigmoid);
      ASSERT_NEAR(gate[i], kScale * d * u * slope,
                  bound * std::fabs(kScale * d * u) * (sigmoid + std::fabs(silu)) + floor)
          << g;
    }
    EXPECT_NEAR(d_scale, sum, (static_cast<double>(n) + 8) * kRounding * magnitude + 1e-34);
  }
}

TEST_P(ElementwiseBackwardTest, AttentionWeightsEqualTheFormula) {
  constexpr float kScale = 0.3f, kLogSumExp = 5.5f, kDelta = -0.4f;
  for (const int64_t n : lengths(0)) {
    const auto s_before = random_floats(n, 1, 8), dp_before = random_floats(n, 2);
    auto s = s_before, dp = dp_before;
    attention_weights_backward(s.data(), dp.data(), kScale, kLogSumExp, kDelta, n);
    for (int64_t j = 0; j < n; ++j) {
      const double score = double{kScale} * s_before[j];
      const double p = std::exp(score - double{kLogSumExp});
      // An exponential errs relatively as its argument does absolutely.
      const double bound = (2 * (std::fabs(score) + double{kLogSumExp}) + 8) * kRounding;
      ASSERT_NEAR(s[j], p, bound * p);
      ASSERT_NEAR(dp[j], kScale * p * (dp_before[j] - double{kDelta}),
                  bound * kScale * p * (std::fabs(dp_before[j]) + std::fabs(kDelta)));
    }
  }
}

TEST_P(ElementwiseBackwardTest, MaskedKeysAndQueriesWithoutKeysGetNothing) {
  for (int64_t n = 1; n < 40; ++n) {
    auto s = random_floats(n, 1), dp = random_floats(n, 2);
    const auto s_before = s, dp_before = dp;
    s[n / 2] = -kInfinity;
    attention_weights_backward(s.data(), dp.data(), 0.5f, 1, 0.25f, n);
    EXPECT_EQ(s[n / 2], 0);
    EXPECT_EQ(dp[n / 2], 0);
    if (n > 1) {
      EXPECT_GT(s[n - 1 - (n / 2 == n - 1)], 0);
    }

    s = s_before, dp = dp_before;
    attention_weights_backward(s.data(), dp.data(), 0.5f, kInfinity, 0.25f, n);
    EXPECT_EQ(s, std::vector<float>(n, 0.0f));
    for (const float d : dp) EXPECT_EQ(d, 0);
  }
}

TEST_P(ElementwiseBackwardTest, CrossEntropyEqualsTheFormula) {
  for (const int64_t n : lengths(1)) {
    for (const int64_t label : {int64_t{0}, n / 2, n - 1}) {
      const auto before = random_floats(n, 1, 6);
      auto x = before;
      constexpr float kFactor = 0.125f;
      const float row = cross_entropy_row(x.data(), n, label);
      EXPECT_EQ(x, before);
      const float loss = cross_entropy_backward(x.data(), n, label, kFactor);
      EXPECT_EQ(loss, row);

      const double maximum = *std::max_element(before.begin(), before.end());
      const double depth = maximum - *std::min_element(before.begin(), before.end());
      double sum = 0;
      for (const float v : before) sum += std::exp(v - maximum);
      const double expected = std::log(sum) + maximum - before[label];
      // Sums are float32 over 1024 numbers at most; a difference to the maximum is rounded once.
      const double relative =
          (static_cast<double>(std::min<int64_t>(n, 1024)) + depth + 8) * kRounding;
      ASSERT_NEAR(loss, expected, relative + 2 * kRounding * expected) << n;
      for (int64_t i = 0; i < n; ++i) {
        const double p = std::exp(before[i] - maximum) / sum, one = i == label ? 1 : 0;
        ASSERT_NEAR(x[i], kFactor * (p - one), kFactor * (2 * relative * p + kRounding * one))
            << n << ": " << i;
      }
    }
  }
}

TEST_P(ElementwiseBackwardTest, CrossEntropyOfExtremeLogits) {
  for (int64_t n = 3; n < 40; ++n) {
    std::vector<float> x(n, -1e30f);
    x[n - 1] = 3e38f;
    EXPECT_EQ(cross_entropy_backward(x.data(), n, n - 1, 2), 0);
    EXPECT_EQ(x, std::vector<float>(n, 0.0f));

    // A logit of -infinity has no part in it; as the label it costs infinitely much.
    auto masked = random_floats(n, 1);
    masked[1] = -kInfinity;
    auto without = masked;
    without.erase(without.begin() + 1);
    EXPECT_NEAR(cross_entropy_row(masked.data(), n, 0), cross_entropy_row(without.data(), n - 1, 0),
                1e-5);
    EXPECT_EQ(cross_entropy_row(masked.data(), n, 1), kInfinity);
    cross_entropy_backward(masked.data(), n, 0, 1);
    EXPECT_EQ(masked[1], 0);
  }
}

TEST_P(ElementwiseBackwardTest, NanIsNotLost) {
  constexpr int64_t kN = 37;
  for (int64_t at = 0; at < kN; ++at) {
    auto x = random_floats(kN, 1);
    x[at] = kNan;
    const int64_t label = (at + 3) % kN;
    EXPECT_TRUE(std::isnan(cross_entropy_row(x.data(), kN, label))) << at;
    auto logits = x;
    EXPECT_TRUE(std::isnan(cross_entropy_backward(logits.data(), kN, label, 1)));
    EXPECT_TRUE(std::isnan(logits[label]));

    EXPECT_TRUE(std::isnan(dot(x.data(), x.data(), kN)));
    EXPECT_TRUE(std::isnan(sum_of_squares(x.data(), kN)));

    auto gate = x, up = random_floats(kN, 2);
    std::vector<float> y(kN);
    const auto dy = random_floats(kN, 3);
    EXPECT_TRUE(std::isnan(swiglu_backward(gate.data(), up.data(), dy.data(), 1, kN, y.data())));
    EXPECT_TRUE(std::isnan(gate[at]) && std::isnan(up[at]) && std::isnan(y[at]));

    auto s = x, dp = random_floats(kN, 4);
    attention_weights_backward(s.data(), dp.data(), 1, 2, 0, kN);
    EXPECT_TRUE(std::isnan(s[at]) && std::isnan(dp[at]));

    std::vector<float> dx(kN), dw(kN);
    rms_norm_backward(x.data(), dy.data(), 1e-6f, dy.data(), kN, false, dx.data(), dw.data());
    EXPECT_TRUE(std::isnan(dx[0]) && std::isnan(dx[kN - 1]) && std::isnan(dw[at]));

    auto w = random_floats(kN, 5);
    std::vector<float> m(kN), v(kN);
    adamw({.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .step_size = 0.1f}, kN, x.data(), w.data(),
          m.data(), v.data(), nullptr);
    EXPECT_TRUE(std::isnan(w[at]) && std::isnan(m[at]) && std::isnan(v[at]));
  }
}

TEST_P(ElementwiseBackwardTest, DotAndSumOfSquaresEqualALoop) {
  for (const int64_t n : lengths(0)) {
    const auto x = random_floats(n, 1), y = random_floats(n, 2);
    double sum = 0, magnitude = 0, squares = 0;
    for (int64_t i = 0; i < n; ++i) {
      sum += double{x[i]} * y[i];
      magnitude += std::fabs(double{x[i]} * y[i]);
      squares += double{x[i]} * x[i];
    }
    const double bound = static_cast<double>(n) * kRounding;
    EXPECT_NEAR(dot(x.data(), y.data(), n), sum, bound * magnitude) << n;
    EXPECT_NEAR(sum_of_squares(x.data(), n), squares, bound * squares) << n;
  }
}

TEST_P(ElementwiseBackwardTest, SumOfSquaresIsInDoubleFromSegmentToSegment) {
  // In float32 the ones that follow 2^40 would vanish.
  std::vector<float> x(40000, 0.0f);
  x[0] = 0x1p20f;
  for (int64_t i = 4096; i < 40000; i += 100) x[i] = 1;
  EXPECT_EQ(sum_of_squares(x.data(), 40000), 0x1p40 + 360);
}

TEST_P(ElementwiseBackwardTest, AdamwEqualsTheFormulaAndRoundsToBfloat16) {
  const AdamWStep step{.gradient_scale = 0.5f,
                       .beta1 = 0.9f,
                       .beta2 = 0.95f,
                       .eps = 1e-3f,
                       .step_size = 0.02f,
                       .v_correction = 1.5f,
                       .lr_decay = 0.01f};
  for (const int64_t n : lengths(0)) {
    const auto gradient = random_floats(n, 1), w_before = random_floats(n, 2),
               m_before = random_floats(n, 3);
    auto v_before = random_floats(n, 4);
    for (float& v : v_before) v *= v;
    auto w = w_before, m = m_before, v = v_before;
    std::vector<uint16_t> bf16(n, 0xffff);
    adamw(step, n, gradient.data(), w.data(), m.data(), v.data(), bf16.data());
    for (int64_t i = 0; i < n; ++i) {
      const double g = double{step.gradient_scale} * gradient[i];
      const double m_old = double{step.beta1} * m_before[i], m_add = (1 - double{step.beta1}) * g;
      const double v_new = double{step.beta2} * v_before[i] + (1 - double{step.beta2}) * g * g;
      // 1 - beta in float32 is exact: both lie between a half and one.
      const double m_bound = 4 * kRounding * (std::fabs(m_old) + std::fabs(m_add));
      ASSERT_NEAR(m[i], m_old + m_add, m_bound);
      ASSERT_NEAR(v[i], v_new, 5 * kRounding * v_new);
      const double root = std::sqrt(v_new) * double{step.v_correction} + double{step.eps};
      const double moved = double{step.step_size} * (m_old + m_add) / root;
      ASSERT_NEAR(w[i], w_before[i] * (1 - double{step.lr_decay}) - moved,
                  2 * kRounding * std::fabs(w_before[i]) + 8 * kRounding * std::fabs(moved) +
                      double{step.step_size} * m_bound / root);
      ASSERT_EQ(bf16[i], formats::float_to_bf16(w[i]));
    }
    auto w2 = w_before, m2 = m_before, v2 = v_before;
    adamw(step, n, gradient.data(), w2.data(), m2.data(), v2.data(), nullptr);
    EXPECT_EQ(w2, w);
  }
}

TEST_P(ElementwiseBackwardTest, AdamwWithoutGradientsOnlyDecays) {
  const AdamWStep step{
      .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .step_size = 0.1f, .lr_decay = 0.25f};
  const std::vector<float> none(21, 0.0f);
  std::vector<float> w(21, 2.0f), m(21), v(21);
  adamw(step, 21, none.data(), w.data(), m.data(), v.data(), nullptr);
  EXPECT_EQ(w, std::vector<float>(21, 1.5f));
  EXPECT_EQ(m, none);
  EXPECT_EQ(v, none);
}

INSTANTIATE_TEST_SUITE_P(Variants, ElementwiseBackwardTest, testing::ValuesIn(available_variants()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace dsv3::kernels
