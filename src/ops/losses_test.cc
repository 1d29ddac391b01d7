#include "ops/losses.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "ops/test_data.h"

namespace dsv3::ops {
namespace {

Rows logits_of(std::vector<float> values, int64_t cols) {
  Rows r(static_cast<int64_t>(values.size()) / cols, cols);
  r.data = std::move(values);
  return r;
}

TEST(CrossEntropyTest, IsTheMeanOverLabelsThatCount) {
  Rows logits = logits_of({0, std::log(3.0f), 0, 0, 5, 5}, 2);
  const std::vector<int64_t> labels = {1, 0, kIgnoreIndex};
  // -ln(3/4) and -ln(1/2).
  EXPECT_NEAR(cross_entropy(logits.matrix(), labels), (std::log(4.0 / 3) + std::log(2.0)) / 2,
              1e-7);
  EXPECT_NEAR(cross_entropy(logits.matrix(), labels, 8.0), (std::log(4.0 / 3) + std::log(2.0)) / 8,
              1e-7);
}

TEST(CrossEntropyTest, WithoutLabelsIsNotANumberUnlessItemsAreCounted) {
  Rows logits(2, 3);
  const std::vector<int64_t> none(2, kIgnoreIndex);
  EXPECT_TRUE(std::isnan(cross_entropy(logits.matrix(), none)));
  EXPECT_EQ(cross_entropy(logits.matrix(), none, 4.0), 0);
}

TEST(CrossEntropyTest, RefusesLabelsOutsideTheVocabulary) {
  Rows logits(2, 3);
  for (const int64_t wrong : {3, -1, -99, 1 << 30}) {
    EXPECT_THROW(cross_entropy(logits.matrix(), std::vector<int64_t>{0, wrong}), Error) << wrong;
  }
  EXPECT_THROW(cross_entropy(logits.matrix(), std::vector<int64_t>{0}), Error);
}

TEST(CrossEntropyTest, ExtremeLogitsDoNotOverflow) {
  Rows logits = logits_of({3e38f, 0, -3e38f, -3e38f, 1000, -1000}, 2);
  EXPECT_EQ(cross_entropy(logits.matrix().row_range(0, 1), std::vector<int64_t>{0}), 0);
  EXPECT_NEAR(cross_entropy(logits.matrix().row_range(1, 2), std::vector<int64_t>{1}),
              std::log(2.0), 1e-12);
  EXPECT_EQ(cross_entropy(logits.matrix().row_range(2, 3), std::vector<int64_t>{1}), 2000);
}

TEST(CrossEntropyTest, DoesNotDependOnTheNumberOfThreads) {
  Random random(1);
  Rows logits = random.rows(100, 50);
  std::vector<int64_t> labels;
  for (int i = 0; i < 100; ++i) labels.push_back(random.integer(0, 49));
  const double expected = cross_entropy(logits.matrix(), labels);
  for (const int threads : {1, 2, 3}) {
    const ThreadCount count(threads);
    EXPECT_EQ(cross_entropy(logits.matrix(), labels), expected);
  }
}

TEST(CrossEntropyBackwardTest, EqualsSoftmaxMinusOneHotTimesTheFactor) {
  Random random(2);
  for (const int64_t cols : {2, 50, 3000}) {
    const Rows logits = random.rows(9, cols, 4);
    std::vector<int64_t> labels;
    for (int i = 0; i < 9; ++i)
      labels.push_back(i % 4 == 1 ? kIgnoreIndex : random.integer(0, cols - 1));
    Rows gradient = logits;
    constexpr float kFactor = 0.5f;
    const double loss = cross_entropy_backward(gradient.matrix(), labels, kFactor);

    // Of a row: a float32 sum of up to 1024 exponentials, their arguments rounded; then the result.
    const double relative = (static_cast<double>(std::min<int64_t>(cols, 1024)) + 64) * kRounding;
    double expected = 0;
    for (int64_t t = 0; t < 9; ++t) {
      double sum = 0;
      for (int64_t i = 0; i < cols; ++i) sum += std::exp(double{logits.at(t, i)});
      if (labels[t] != kIgnoreIndex) expected += std::log(sum) - logits.at(t, labels[t]);
      for (int64_t i = 0; i < cols; ++i) {
        const double p = std::exp(double{logits.at(t, i)}) / sum;
        const double d = labels[t] == kIgnoreIndex ? 0 : kFactor * (p - (labels[t] == i ? 1 : 0));
        ASSERT_NEAR(gradient.at(t, i), d, relative * (p + std::fabs(d)) * (d == 0 ? 0 : 1))
            << t << ", " << i;
      }
    }
    EXPECT_NEAR(loss, expected, 9 * relative + 2 * kRounding * expected);
    Rows copy = logits;
    EXPECT_EQ(cross_entropy_sum(copy.matrix(), labels), loss);
    EXPECT_EQ(copy.data, logits.data);
  }
}

TEST(CrossEntropyBackwardTest, DoesNotDependOnTheNumberOfThreads) {
  Random random(3);
  const Rows logits = random.rows(100, 50);
  std::vector<int64_t> labels;
  for (int i = 0; i < 100; ++i) labels.push_back(random.integer(0, 49));
  Rows expected = logits;
  const double loss = cross_entropy_backward(expected.matrix(), labels, 0.01f);
  for (const int threads : {1, 2, 3}) {
    const ThreadCount count(threads);
    Rows gradient = logits;
    EXPECT_EQ(cross_entropy_backward(gradient.matrix(), labels, 0.01f), loss);
    EXPECT_TRUE(same_bits(gradient.data, expected.data));
    gradient = logits;
    EXPECT_EQ(cross_entropy_sum(gradient.matrix(), labels), loss);
  }
}

TEST(CrossEntropyBackwardTest, WithoutLabelsNothingIsLeft) {
  Random random(4);
  Rows logits = random.rows(3, 5);
  const std::vector<int64_t> none(3, kIgnoreIndex);
  EXPECT_EQ(cross_entropy_sum(logits.matrix(), none), 0);
  EXPECT_EQ(cross_entropy_backward(logits.matrix(), none, 1), 0);
  EXPECT_EQ(logits.data, std::vector<float>(15, 0.0f));
}

TEST(NegativeLogLikelihoodTest, OfUniformLogitsIsTheLogarithmOfTheirNumber) {
  EXPECT_NEAR(negative_log_likelihood(std::vector<float>(1000, -7.5f), 3), std::log(1000.0), 1e-12);
}

TEST(MeanSquaredErrorTest, AveragesSquares) {
  EXPECT_EQ(mean_squared_error(std::vector<float>{1, 2, 4}, std::vector<float>{1, 0, 1}), 13.0 / 3);
  EXPECT_THROW(mean_squared_error(std::vector<float>{1}, std::vector<float>{1, 0}), Error);
}

TEST(BinaryCrossEntropyTest, EqualsItsDefinition) {
  const std::vector<float> x = {0, 2, -1.5f}, y = {1, 0, 0.25f};
  double expected = 0;
  for (int i = 0; i < 3; ++i) {
    const double p = 1 / (1 + std::exp(-double{x[i]}));
    expected -= (y[i] * std::log(p) + (1 - y[i]) * std::log(1 - p)) / 3;
  }
  EXPECT_NEAR(binary_cross_entropy_with_logits(x, y), expected, 1e-12);
  EXPECT_THROW(binary_cross_entropy_with_logits(x, std::vector<float>{1}), Error);
}

TEST(BinaryCrossEntropyTest, ExtremeLogitsDoNotOverflow) {
  EXPECT_EQ(
      binary_cross_entropy_with_logits(std::vector<float>{1e30f, -1e30f}, std::vector<float>{1, 0}),
      0);
  EXPECT_EQ(
      binary_cross_entropy_with_logits(std::vector<float>{1000, -500}, std::vector<float>{0, 1}),
      750);
}

}  // namespace
}  // namespace dsv3::ops
