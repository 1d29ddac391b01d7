#include "ops/linear.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "ops/embedding.h"
#include "ops/norm.h"
#include "ops/test_data.h"

namespace dsv3::ops {
namespace {

void expect_equals_loop(Rows& x, const LinearWeight& w) {
  const Rows weights = decoded(w);
  Rows y(x.rows, w.out_features(), NAN);
  linear(x.matrix(), w, y.matrix());
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t n = 0; n < y.cols; ++n) {
      double sum = w.bias.defined() ? w.bias.as<float>()[n] : 0.0, magnitude = std::fabs(sum);
      for (int64_t k = 0; k < x.cols; ++k) {
        sum += double{x.at(t, k)} * weights.at(n, k);
        magnitude += std::fabs(double{x.at(t, k)} * weights.at(n, k));
      }
      ASSERT_NEAR(y.at(t, n), sum, static_cast<double>(x.cols + 1) * kRounding * magnitude)
          << t << ", " << n;
    }
  }
}

TEST(LinearTest, EqualsALoopInEveryFormatWithAndWithoutBias) {
  Random random(1);
  for (const auto& [tokens, in, out] :
       std::vector<std::array<int64_t, 3>>{{1, 1, 1}, {3, 17, 5}, {2, 150, 300}, {33, 64, 129}}) {
    Rows x = random.rows(tokens, in);
    for (LinearWeight w : {random.weight(out, in), random.weight(out, in, DType::kBF16),
                           random.fp8_weight(out, in), random.fp8_weight(out, in, 32)}) {
      expect_equals_loop(x, w);
      w.bias = random.tensor({out});
      expect_equals_loop(x, w);
    }
  }
}

TEST(LinearTest, BatchSizeAndThreadsChangeNoBit) {
  Random random(2);
  for (const LinearWeight& w : {random.weight(200, 70), random.weight(200, 70, DType::kBF16),
                                random.fp8_weight(200, 140)}) {
    Rows x = random.rows(50, w.in_features()), y(50, 200), other(50, 200);
    linear(x.matrix(), w, y.matrix());
    for (int64_t t = 0; t < 50; ++t)
      linear(x.matrix().row_range(t, t + 1), w, other.matrix().row_range(t, t + 1));
    EXPECT_TRUE(same_bits(y.data, other.data));
    for (const int threads : {1, 2, 3}) {
      const ThreadCount count(threads);
      linear(x.matrix(), w, other.matrix());
      EXPECT_TRUE(same_bits(y.data, other.data)) << threads << " threads";
    }
  }
}

TEST(LinearTest, ReadsAndWritesStridedRows) {
  Random random(3);
  const LinearWeight w = random.weight(6, 10);
  Rows wide = random.rows(4, 25), x(4, 10), y(4, 6), wide_y(4, 20, 7);
  for (int64_t t = 0; t < 4; ++t) std::copy_n(&wide.data[t * 25 + 3], 10, &x.data[t * 10]);
  linear(x.matrix(), w, y.matrix());
  linear(wide.matrix().columns(3, 10), w, wide_y.matrix().columns(5, 6));
  for (int64_t t = 0; t < 4; ++t) {
    for (int64_t i = 0; i < 20; ++i)
      EXPECT_EQ(wide_y.at(t, i), i >= 5 && i < 11 ? y.at(t, i - 5) : 7);
  }
}

TEST(LinearTest, DynamicActivationsConcernOnlyFp8Weights) {
  Random random(4);
  Rows x = random.rows(3, 140), quantised(3, 140), y(3, 9), expected(3, 9);
  fake_quantize(x.matrix(), Activations::kFp8, quantised.matrix());
  EXPECT_NE(x.data, quantised.data);

  const LinearWeight fp8 = random.fp8_weight(9, 140), plain = random.weight(9, 140);
  linear(x.matrix(), fp8, y.matrix(), Activations::kFp8);
  linear(quantised.matrix(), fp8, expected.matrix());
  EXPECT_EQ(y.data, expected.data);
  linear(x.matrix(), plain, y.matrix(), Activations::kFp8);
  linear(x.matrix(), plain, expected.matrix());
  EXPECT_EQ(y.data, expected.data);
}

TEST(LinearTest, ShapesThatDoNotFitAreRefused) {
  Random random(5);
  LinearWeight w = random.weight(6, 10);
  Rows x(2, 10), y(2, 6), narrow(2, 9), short_y(1, 6);
  EXPECT_THROW(linear(narrow.matrix(), w, y.matrix()), Error);
  EXPECT_THROW(linear(x.matrix(), w, narrow.matrix()), Error);
  EXPECT_THROW(linear(x.matrix(), w, short_y.matrix()), Error);
  w.bias = random.tensor({5});
  EXPECT_THROW(linear(x.matrix(), w, y.matrix()), Error);
  LinearWeight no_scale = random.fp8_weight(6, 10);
  no_scale.scale_inv = Tensor();
  EXPECT_THROW(linear(x.matrix(), no_scale, y.matrix()), Error);
  LinearWeight integers;
  integers.weight = Tensor(DType::kI64, {6, 10});
  EXPECT_THROW(linear(x.matrix(), integers, y.matrix()), Error);
}

TEST(EmbeddingTest, GivesTheRowsOfTheTable) {
  Random random(6);
  for (const LinearWeight& table : {random.weight(12, 7), random.weight(12, 7, DType::kBF16)}) {
    const Rows rows = decoded(table);
    const std::vector<int64_t> ids = {11, 0, 5, 5};
    Rows y(4, 7);
    embed(ids, table, y.matrix());
    for (int64_t t = 0; t < 4; ++t) {
      for (int64_t i = 0; i < 7; ++i) EXPECT_EQ(y.at(t, i), rows.at(ids[t], i));
    }
  }
}

TEST(EmbeddingTest, RefusesIdsOutsideTheTable) {
  Random random(7);
  const LinearWeight table = random.weight(12, 7);
  Rows y(2, 7);
  EXPECT_THROW(embed(std::vector<int64_t>{0, 12}, table, y.matrix()), Error);
  EXPECT_THROW(embed(std::vector<int64_t>{-1, 0}, table, y.matrix()), Error);
  EXPECT_THROW(embed(std::vector<int64_t>{0, 1, 2}, table, y.matrix()), Error);
}

TEST(NormTest, DividesByTheRootMeanSquare) {
  Random random(8);
  for (const int64_t cols : {1, 7, 64, 1000}) {
    Rows x = random.rows(5, cols, 3), y(5, cols);
    const Tensor weight = random.tensor({cols});
    rms_norm(x.matrix(), weight, 1e-6f, y.matrix());
    for (int64_t t = 0; t < 5; ++t) {
      double sum = 0;
      for (int64_t i = 0; i < cols; ++i) sum += double{x.at(t, i)} * x.at(t, i);
      const double root = std::sqrt(sum / static_cast<double>(cols) + 1e-6);
      for (int64_t i = 0; i < cols; ++i) {
        const double expected = x.at(t, i) / root * weight.as<float>()[i];
        ASSERT_NEAR(y.at(t, i), expected,
                    (static_cast<double>(cols) + 8) * kRounding * std::fabs(expected));
      }
    }
    rms_norm(x.matrix(), weight, 1e-6f, x.matrix());
    EXPECT_EQ(x.data, y.data) << "in place";
  }
}

TEST(NormTest, ZerosStayZerosAndEpsilonCounts) {
  Rows x(1, 4), y(1, 4, 1);
  const Tensor ones = Tensor::from(std::vector<float>(4, 1.0f), {4});
  rms_norm(x.matrix(), ones, 1e-6f, y.matrix());
  EXPECT_EQ(y.data, std::vector<float>(4, 0.0f));
  x.data.assign(4, 1e-3f);
  rms_norm(x.matrix(), ones, 3e-6f, y.matrix());
  EXPECT_FLOAT_EQ(y.at(0, 0), 0.5f);
}

TEST(NormTest, RefusesAWeightOfAnotherLength) {
  Random random(9);
  Rows x(2, 8), y(2, 8), small(1, 8);
  EXPECT_THROW(rms_norm(x.matrix(), random.tensor({7}), 1e-6f, y.matrix()), Error);
  EXPECT_THROW(rms_norm(x.matrix(), random.tensor({8}), 1e-6f, small.matrix()), Error);
}

TEST(NormTest, AddAddsRowByRow) {
  Random random(10);
  Rows x = random.rows(3, 19), y = random.rows(3, 19);
  const Rows before = y;
  add(x.matrix(), y.matrix());
  for (size_t i = 0; i < y.data.size(); ++i) EXPECT_EQ(y.data[i], before.data[i] + x.data[i]);
}

}  // namespace
}  // namespace dsv3::ops
