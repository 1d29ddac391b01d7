// Gradients of linear, rms_norm, rotary embedding and embedding.
#include <gtest/gtest.h>

#include <array>

#include "base/error.h"
#include "ops/embedding.h"
#include "ops/finite_differences.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/rotary.h"

namespace dsv3::ops {
namespace {

// A bfloat16 number has 8 bits: what half a unit in the last place is at most.
constexpr double kBf16Rounding = 1.0 / 256;

// A float32 sum of n products errs by at most n roundings of the sum of magnitudes; with weights of
// bfloat16 the factors of a product are rounded to it before, but for the weights, which are so.
void expect_linear_gradients(int64_t tokens, int64_t in, int64_t out, DType dtype, bool has_bias,
                             bool accumulate, bool wants_dx) {
  SCOPED_TRACE(testing::Message() << "[" << tokens << ", " << in << "] to " << out << ", "
                                  << dtype_name(dtype) << (has_bias ? ", bias" : "")
                                  << (accumulate ? ", accumulate" : ""));
  Random random(1);
  LinearWeight w = random.weight(out, in, dtype);
  if (has_bias) w.bias = random.tensor({out});
  Rows x = random.rows(tokens, in), dy = random.rows(tokens, out), dx(tokens, in, kBefore);
  if (!accumulate) dx = Rows(tokens, in, NAN);
  LinearWeight gradient = gradient_for(w);
  linear_backward(x.matrix(), w, dy.matrix(), accumulate, wants_dx ? dx.matrix() : Matrix(),
                  gradient);

  const Rows weights = decoded(w);
  const double rounded = dtype == DType::kBF16 ? kBf16Rounding : 0;
  for (int64_t t = 0; wants_dx && t < tokens; ++t) {
    for (int64_t i = 0; i < in; ++i) {
      double sum = accumulate ? kBefore : 0, magnitude = sum;
      for (int64_t o = 0; o < out; ++o) {
        sum += double{dy.at(t, o)} * weights.at(o, i);
        magnitude += std::fabs(double{dy.at(t, o)} * weights.at(o, i));
      }
      ASSERT_NEAR(dx.at(t, i), sum,
                  (static_cast<double>(out + 1) * kRounding + rounded) * magnitude)
          << t << ", " << i;
    }
  }
  const auto dw = gradient.weight.as<float>();
  for (int64_t o = 0; o < out; ++o) {
    double bias_sum = kBefore, bias_magnitude = kBefore;
    for (int64_t t = 0; t < tokens; ++t)
      bias_sum += dy.at(t, o), bias_magnitude += std::fabs(dy.at(t, o));
    if (has_bias) {
      ASSERT_NEAR(gradient.bias.as<float>()[o], bias_sum,
                  static_cast<double>(tokens + 1) * kRounding * bias_magnitude);
    }
    for (int64_t i = 0; i < in; ++i) {
      double sum = kBefore, magnitude = kBefore;
      for (int64_t t = 0; t < tokens; ++t) {
        sum += double{dy.at(t, o)} * x.at(t, i);
        magnitude += std::fabs(double{dy.at(t, o)} * x.at(t, i));
      }
      ASSERT_NEAR(dw[o * in + i], sum,
                  (static_cast<double>(tokens + 1) * kRounding + 2.01 * rounded) * magnitude)
          << o << ", " << i;
    }
  }
}

TEST(LinearBackwardTest, EqualsALoopAlsoOverSeveralTiles) {
  // A tile is 256 tokens of dx, 192 x 1024 of dW.
  for (const auto& [tokens, in, out] : std::vector<std::array<int64_t, 3>>{
           {1, 1, 1}, {3, 17, 5}, {33, 64, 129}, {300, 10, 200}, {5, 1030, 195}}) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const bool accumulate : {false, true})
        expect_linear_gradients(tokens, in, out, dtype, accumulate, accumulate, true);
      expect_linear_gradients(tokens, in, out, dtype, true, false, false);
    }
  }
}

TEST(LinearBackwardTest, NoTokensAddNothing) {
  Random random(2);
  LinearWeight w = random.weight(5, 7);
  w.bias = random.tensor({5});
  LinearWeight gradient = gradient_for(w);
  Rows x(0, 7), dy(0, 5), dx(0, 7);
  linear_backward(x.matrix(), w, dy.matrix(), false, dx.matrix(), gradient);
  for (const float g : gradient.weight.as<float>()) EXPECT_EQ(g, kBefore);
  for (const float g : gradient.bias.as<float>()) EXPECT_EQ(g, kBefore);
}

TEST(LinearBackwardTest, ReadsAndWritesStridedRows) {
  Random random(3);
  const LinearWeight w = random.weight(6, 10);
  Rows wide_x = random.rows(4, 25), wide_dy = random.rows(4, 9);
  Rows x(4, 10), dy(4, 6), dx(4, 10), wide_dx(4, 13, 7);
  for (int64_t t = 0; t < 4; ++t) {
    std::copy_n(&wide_x.data[t * 25 + 3], 10, &x.data[t * 10]);
    std::copy_n(&wide_dy.data[t * 9 + 2], 6, &dy.data[t * 6]);
  }
  LinearWeight gradient = gradient_for(w), of_strided = gradient_for(w);
  linear_backward(x.matrix(), w, dy.matrix(), false, dx.matrix(), gradient);
  linear_backward(wide_x.matrix().columns(3, 10), w, wide_dy.matrix().columns(2, 6), false,
                  wide_dx.matrix().columns(1, 10), of_strided);
  EXPECT_EQ(received(of_strided), received(gradient));
  for (int64_t t = 0; t < 4; ++t) {
    for (int64_t i = 0; i < 13; ++i)
      EXPECT_EQ(wide_dx.at(t, i), i >= 1 && i < 11 ? dx.at(t, i - 1) : 7);
  }
}

TEST(LinearBackwardTest, AnyNumberOfThreadsGivesTheSameBits) {
  Random random(4);
  LinearWeight w = random.weight(400, 70);
  w.bias = random.tensor({400});
  Rows x = random.rows(600, 70), dy = random.rows(600, 400);
  std::vector<std::vector<double>> found;
  for (const int threads : {1, 2, 3}) {
    const ThreadCount count(threads);
    Rows dx(600, 70);
    LinearWeight gradient = gradient_for(w);
    linear_backward(x.matrix(), w, dy.matrix(), false, dx.matrix(), gradient);
    std::vector<double>& all = found.emplace_back(received(gradient));
    for (const float v : gradient.bias.as<float>()) all.push_back(v);
    for (const float v : dx.data) all.push_back(v);
  }
  EXPECT_EQ(found[0], found[1]);
  EXPECT_EQ(found[0], found[2]);
}

TEST(LinearBackwardTest, RefusesWhatDoesNotFit) {
  Random random(5);
  const LinearWeight w = random.weight(6, 10), fp8 = random.fp8_weight(6, 10);
  LinearWeight gradient = gradient_for(w);
  Rows x(2, 10), dy(2, 6), dx(2, 10), narrow(2, 5), short_dy(1, 6);
  EXPECT_THROW(linear_backward(narrow.matrix(), w, dy.matrix(), false, dx.matrix(), gradient),
               Error);
  EXPECT_THROW(linear_backward(x.matrix(), w, narrow.matrix(), false, dx.matrix(), gradient),
               Error);
  EXPECT_THROW(linear_backward(x.matrix(), w, short_dy.matrix(), false, dx.matrix(), gradient),
               Error);
  EXPECT_THROW(linear_backward(x.matrix(), fp8, dy.matrix(), false, dx.matrix(), gradient), Error);
}

TEST(NormBackwardTest, MatchesFiniteDifferencesOverSeveralPartsOfRows) {
  for (const auto& [rows, cols] :
       std::vector<std::array<int64_t, 2>>{{1, 1}, {3, 7}, {128, 5}, {300, 33}}) {
    Random random(6);
    constexpr double kEps = 0.01;
    Rows x = random.rows(rows, cols), dy = random.rows(rows, cols), dx(rows, cols, kBefore);
    const Tensor weight = random.tensor({cols});
    Tensor dweight = Tensor::from(std::vector<float>(cols, kBefore), {cols});
    rms_norm_backward(x.matrix(), weight, kEps, dy.matrix(), true, dx.matrix(), dweight);

    std::vector<double> xs = doubles(x), ws = doubles(weight.as<float>());
    const auto loss = [&, cols = cols, rows = rows] {
      double sum = 0;
      for (int64_t t = 0; t < rows; ++t) {
        double squares = 0;
        for (int64_t i = 0; i < cols; ++i) squares += xs[t * cols + i] * xs[t * cols + i];
        const double root =
            std::sqrt(squares / static_cast<double>(cols) + double{static_cast<float>(kEps)});
        for (int64_t i = 0; i < cols; ++i) sum += xs[t * cols + i] / root * ws[i] * dy.at(t, i);
      }
      return sum;
    };
    const auto roundings = static_cast<double>(rows + 3 * cols + 16);
    expect_gradient("dx", xs, received(dx.data), roundings, loss);
    expect_gradient("dweight", ws, received(dweight.as<float>()), roundings, loss);
  }
}

TEST(NormBackwardTest, InPlaceAndWithAnyNumberOfThreadsGivesTheSameBits) {
  Random random(7);
  Rows x = random.rows(300, 20);
  const Rows dy = random.rows(300, 20);
  const Tensor weight = random.tensor({20});
  Rows dx(300, 20, NAN), dy_copy = dy;
  Tensor dweight(DType::kF32, {20});
  rms_norm_backward(x.matrix(), weight, 1e-6f, dy_copy.matrix(), false, dx.matrix(), dweight);
  for (const int threads : {1, 2, 3}) {
    const ThreadCount count(threads);
    Rows in_place = dy;
    Tensor other(DType::kF32, {20});
    rms_norm_backward(x.matrix(), weight, 1e-6f, in_place.matrix(), false, in_place.matrix(),
                      other);
    EXPECT_TRUE(same_bits(in_place.data, dx.data)) << threads << " threads";
    EXPECT_EQ(doubles(other.as<float>()), doubles(dweight.as<float>())) << threads << " threads";
  }
}

TEST(RotaryBackwardTest, TransposedTableGivesTheTranspose) {
  Random random(8);
  const int64_t heads = 3, nope = 5, pairs = 4, stride = nope + 2 * pairs, tokens = 6;
  const std::vector<int64_t> positions = {0, 1, 7, 100, 3, 2};
  const std::vector<float> inv_freq = {1, 0.3f, 0.1f, 0.01f};
  // With a scaling the transpose is not the inverse.
  const RotaryTable table = rotary_table(positions, inv_freq, 1.5f);
  for (const bool interleaved : {true, false}) {
    Rows x = random.rows(tokens, heads * stride), dy = random.rows(tokens, heads * stride);
    Rows y = x, dx = dy;
    rotate(table, interleaved, y.matrix(), heads, stride, nope);
    rotate(transposed(table), interleaved, dx.matrix(), heads, stride, nope);
    // <A x, dy> = <x, A^T dy> for each token.
    for (int64_t t = 0; t < tokens; ++t) {
      double left = 0, right = 0, magnitude = 0;
      for (int64_t i = 0; i < heads * stride; ++i) {
        left += double{y.at(t, i)} * dy.at(t, i);
        right += double{x.at(t, i)} * dx.at(t, i);
        magnitude += std::fabs(double{y.at(t, i)} * dy.at(t, i)) +
                     std::fabs(double{x.at(t, i)} * dx.at(t, i));
      }
      // Each rotated number is a sum of two products; its terms may be three times larger than it
      // is on average.
      EXPECT_NEAR(left, right, 3 * 3 * kRounding * magnitude) << t;
    }
  }
}

TEST(EmbeddingBackwardTest, AddsEachTokensGradientToItsRowButForPadding) {
  Random random(9);
  const int64_t vocab = 6, hidden = 131;  // more than two tasks of 64 channels
  const LinearWeight table = random.weight(vocab, hidden);
  const std::vector<int64_t> ids = {5, 0, 3, 5, 2, 5, 0, 2};
  Rows dy = random.rows(static_cast<int64_t>(ids.size()), hidden);
  for (const int64_t padding : {-1, 2}) {
    for (const int threads : {1, 3}) {
      const ThreadCount count(threads);
      LinearWeight gradient = gradient_for(table);
      embed_backward(ids, dy.matrix(), padding, gradient);
      std::vector<float> expected(vocab * hidden, kBefore);
      for (size_t t = 0; t < ids.size(); ++t) {
        if (ids[t] == padding) continue;
        for (int64_t i = 0; i < hidden; ++i)
          expected[ids[t] * hidden + i] += dy.at(static_cast<int64_t>(t), i);
      }
      // The same sums in the same order: the same bits.
      EXPECT_EQ(doubles(gradient.weight.as<float>()), doubles(expected));
    }
  }
}

}  // namespace
}  // namespace dsv3::ops
