#include "kernels/elementwise/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "formats/float_formats.h"
#include "kernels/variants.h"

namespace dsv3::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> random_floats(int64_t n, uint32_t seed, float spread = 1) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> values(n);
  for (float& v : values) v = normal(rng);
  return values;
}

class ElementwiseTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_variant(GetParam()); }
  void TearDown() override { force_variant("auto"); }
};

TEST_P(ElementwiseTest, RmsNormEqualsReference) {
  for (int64_t n = 1; n < 80; ++n) {
    const auto x = random_floats(n, 1), w = random_floats(n, 2);
    std::vector<float> y(n), expected(n);
    rms_norm(x.data(), w.data(), 1e-6f, n, y.data());
    rms_norm_ref(x.data(), w.data(), 1e-6f, n, expected.data());
    for (int64_t i = 0; i < n; ++i)
      ASSERT_NEAR(y[i], expected[i], 1e-6f * (1 + std::fabs(expected[i])));
  }
}

TEST_P(ElementwiseTest, SwigluEqualsReferenceAlsoAtTheEnds) {
  for (int64_t n = 0; n < 50; ++n) {
    auto gate = random_floats(n, 3, 5), up = random_floats(n, 4);
    if (n > 4) {
      gate[0] = -200;
      gate[1] = 200;
      gate[2] = -88.9f;
      gate[3] = 0;
    }
    std::vector<float> y(n), expected(n);
    swiglu(gate.data(), up.data(), n, y.data());
    swiglu_ref(gate.data(), up.data(), n, expected.data());
    for (int64_t i = 0; i < n; ++i)
      ASSERT_NEAR(y[i], expected[i], 1e-6f * (1e-3f + std::fabs(expected[i]))) << gate[i];
  }
}

TEST_P(ElementwiseTest, SoftmaxTileEqualsReference) {
  for (int64_t n = 1; n < 70; ++n) {
    auto s = random_floats(n, 5, 10);
    if (n > 3) s[n / 2] = -kInfinity;
    auto expected = s;
    float m = 0.5f, l = 2, m_ref = 0.5f, l_ref = 2;
    const float correction = softmax_tile(s.data(), n, &m, &l);
    const float correction_ref = softmax_tile_ref(expected.data(), n, &m_ref, &l_ref);
    EXPECT_EQ(m, m_ref);
    EXPECT_NEAR(l, l_ref, 2e-6f * l_ref);
    EXPECT_FLOAT_EQ(correction, correction_ref);
    for (int64_t j = 0; j < n; ++j) ASSERT_NEAR(s[j], expected[j], 1e-6f);
    if (n > 3) {
      EXPECT_EQ(s[n / 2], 0);
    }
  }
}

TEST_P(ElementwiseTest, SoftmaxOfMaskedKeysOnlyChangesNothing) {
  std::vector<float> s(20, -kInfinity);
  float m = -kInfinity, l = 0;
  EXPECT_EQ(softmax_tile(s.data(), 20, &m, &l), 1.0f);
  EXPECT_EQ(m, -kInfinity);
  EXPECT_EQ(l, 0);
  EXPECT_EQ(s, std::vector<float>(20, 0.0f));
}

TEST_P(ElementwiseTest, NanIsNotLost) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const int at : {0, 5, 20}) {
    auto s = random_floats(21, 6);
    s[at] = nan;
    float m = -kInfinity, l = 0;
    softmax_tile(s.data(), 21, &m, &l);
    EXPECT_TRUE(std::isnan(s[at]) && std::isnan(l));
    auto x = random_floats(21, 6);
    x[at] = nan;
    std::vector<float> y(21);
    swiglu(x.data(), x.data(), 21, y.data());
    EXPECT_TRUE(std::isnan(y[at]));
    rms_norm(x.data(), x.data(), 1e-6f, 21, y.data());
    EXPECT_TRUE(std::isnan(y[0]));
  }
  // Alone or beside masked keys only, where no number is the maximum.
  for (const auto tile : {softmax_tile, softmax_tile_ref}) {
    for (const float other : {nan, -kInfinity}) {
      std::vector<float> s(21, other);
      s[3] = nan;
      float m = -kInfinity, l = 0;
      tile(s.data(), 21, &m, &l);
      EXPECT_TRUE(std::isnan(s[3]) && std::isnan(l));
      EXPECT_NE(m, -kInfinity);
    }
  }
}

// A later token of the same prompt must not change an earlier token's sum.
TEST_P(ElementwiseTest, MaskedKeysAtTheEndDoNotChangeTheSum) {
  auto s = random_floats(64, 6);
  auto shorter = std::vector<float>(s.begin(), s.begin() + 21);
  std::fill(s.begin() + 21, s.end(), -kInfinity);
  float m1 = -kInfinity, l1 = 0, m2 = -kInfinity, l2 = 0;
  softmax_tile(s.data(), 64, &m1, &l1);
  softmax_tile(shorter.data(), 21, &m2, &l2);
  EXPECT_EQ(m1, m2);
  EXPECT_EQ(l1, l2);
  for (int j = 0; j < 21; ++j) EXPECT_EQ(s[j], shorter[j]);
}

TEST_P(ElementwiseTest, AddAxpyScale) {
  for (int64_t n = 0; n < 40; ++n) {
    const auto x = random_floats(n, 7);
    auto y = random_floats(n, 8);
    const auto before = y;
    axpy(0.5f, x.data(), n, y.data());
    add(x.data(), n, y.data());
    scale(2, n, y.data());
    for (int64_t i = 0; i < n; ++i) ASSERT_NEAR(y[i], 2 * (before[i] + 1.5f * x[i]), 1e-5f);
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, ElementwiseTest, testing::ValuesIn(available_variants()),
                         [](const auto& test) { return test.param; });

TEST(RopeKernelTest, PairsAreInterleavedOrHalves) {
  const float cos[2] = {0, 1}, sin[2] = {1, 0};  // a quarter turn, and none
  float interleaved[4] = {1, 2, 3, 4}, halves[4] = {1, 2, 3, 4};
  rope(cos, sin, 2, true, interleaved);
  rope(cos, sin, 2, false, halves);
  EXPECT_EQ(std::vector<float>(interleaved, interleaved + 4), (std::vector<float>{-2, 1, 3, 4}));
  EXPECT_EQ(std::vector<float>(halves, halves + 4), (std::vector<float>{-3, 2, 1, 4}));
}

TEST(QuantizeActivationsTest, GroupsHaveTheirOwnScalesAndZerosStayZero) {
  std::vector<float> x(300, 0.0f);
  x[0] = 448, x[1] = 1.0625f, x[129] = -0.448f;
  std::vector<float> y(300), scales(3);
  std::vector<uint8_t> codes(300);
  quantize_dequantize_e4m3(x.data(), 300, 128, false, y.data(), codes.data(), scales.data());
  EXPECT_EQ(scales[0], 1.0f);
  EXPECT_EQ(y[0], 448.0f);
  EXPECT_EQ(y[1], 1.0f);
  EXPECT_FLOAT_EQ(scales[1], 0.001f);
  EXPECT_EQ(codes[129], 0xFE);
  EXPECT_EQ(scales[2], 0.0f);
  EXPECT_EQ(y[299], 0.0f);
}

TEST(QuantizeActivationsTest, PowerOfTwoScalesRoundUp) {
  const float x[2] = {500, 3};
  float y[2], scale;
  quantize_dequantize_e4m3(x, 2, 128, true, y, nullptr, &scale);
  EXPECT_EQ(scale, 2.0f);
  EXPECT_EQ(y[0], 512.0f);  // 250 lies halfway between 240 and 256: to the even code
}

TEST(QuantizeActivationsTest, NanSurvives) {
  const float x[2] = {std::numeric_limits<float>::quiet_NaN(), 0};
  float y[2];
  quantize_dequantize_e4m3(x, 2, 128, false, y, nullptr, nullptr);
  EXPECT_TRUE(std::isnan(y[0]));
}

}  // namespace
}  // namespace dsv3::kernels
