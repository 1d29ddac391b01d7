#include "ops/rotary.h"

#include <gtest/gtest.h>

#include "ops/test_data.h"

namespace dsv3::ops {
namespace {

TEST(RotaryTest, AnglesAreFloat32ProductsTimesTheScaling) {
  const std::vector<int64_t> positions = {0, 1, 163839};
  const std::vector<float> inv_freq = {1.0f, 0.1234567f};
  const RotaryTable table = rotary_table(positions, inv_freq, 1.5f);
  ASSERT_EQ(table.pairs, 2);
  EXPECT_EQ(table.cos[0], 1.5f);
  EXPECT_EQ(table.sin[1], 0.0f);
  // In double the product would be another angle by up to 1e-3.
  const float angle = 163839.0f * 0.1234567f;
  EXPECT_FLOAT_EQ(table.cos[5], static_cast<float>(std::cos(double{angle})) * 1.5f);
  EXPECT_FLOAT_EQ(table.sin[5], static_cast<float>(std::sin(double{angle})) * 1.5f);
}

TEST(RotaryTest, InterleavedPairsAreNeighboursOtherwiseHalvesApart) {
  Random random(1);
  const int64_t heads = 3, nope = 5, pairs = 4, stride = nope + 2 * pairs;
  const std::vector<int64_t> positions = {3, 100};
  const std::vector<float> inv_freq = {1, 0.3f, 0.1f, 0.01f};
  const RotaryTable table = rotary_table(positions, inv_freq, 1);
  for (const bool interleaved : {true, false}) {
    Rows x = random.rows(2, heads * stride);
    const Rows before = x;
    rotate(table, interleaved, x.matrix(), heads, stride, nope);
    for (int64_t t = 0; t < 2; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t i = 0; i < nope; ++i)
          EXPECT_EQ(x.at(t, h * stride + i), before.at(t, h * stride + i));
        for (int64_t i = 0; i < pairs; ++i) {
          const int64_t a = h * stride + nope + (interleaved ? 2 * i : i),
                        b = a + (interleaved ? 1 : pairs);
          const double c = table.cos[t * pairs + i], s = table.sin[t * pairs + i];
          EXPECT_NEAR(x.at(t, a), before.at(t, a) * c - before.at(t, b) * s, 1e-6);
          EXPECT_NEAR(x.at(t, b), before.at(t, b) * c + before.at(t, a) * s, 1e-6);
        }
      }
    }
  }
}

TEST(RotaryTest, ScoresDependOnlyOnTheDistance) {
  Random random(2);
  const std::vector<float> inv_freq = {1, 0.5f, 0.25f};
  for (const bool interleaved : {true, false}) {
    const Rows q = random.rows(1, 6), k = random.rows(1, 6);
    std::vector<double> scores;
    for (const int64_t shift : {0, 8, 512}) {
      Rows rotated_q = q, rotated_k = k;
      rotate(rotary_table(std::vector<int64_t>{7 + shift}, inv_freq, 1), interleaved,
             rotated_q.matrix(), 1, 0, 0);
      rotate(rotary_table(std::vector<int64_t>{2 + shift}, inv_freq, 1), interleaved,
             rotated_k.matrix(), 1, 0, 0);
      double score = 0;
      for (int i = 0; i < 6; ++i) score += double{rotated_q.at(0, i)} * rotated_k.at(0, i);
      scores.push_back(score);
    }
    EXPECT_NEAR(scores[1], scores[0], 1e-5);
    EXPECT_NEAR(scores[2], scores[0], 1e-5);
  }
}

TEST(RotaryTest, NoTokens) {
  const RotaryTable table = rotary_table({}, std::vector<float>{1, 1}, 1);
  Rows none(0, 4);
  rotate(table, true, none.matrix(), 1, 4, 0);
  EXPECT_TRUE(table.cos.empty());
}

}  // namespace
}  // namespace dsv3::ops
