#include "benchmark/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace dsv3::benchmark {
namespace {

TEST(StatisticsTest, OddAndEvenNumbersOfValues) {
  const Summary odd = summarize(std::vector<double>{9, 1, 5, 3, 7});
  EXPECT_EQ(odd.median, 5);
  EXPECT_EQ(odd.min, 1);
  EXPECT_EQ(odd.max, 9);
  EXPECT_EQ(odd.lower_quartile, 3);
  EXPECT_EQ(odd.upper_quartile, 7);
  EXPECT_EQ(odd.mean, 5);
  EXPECT_DOUBLE_EQ(odd.standard_deviation, std::sqrt(10.0));
  const Summary even = summarize(std::vector<double>{4, 1, 2, 3});
  EXPECT_EQ(even.median, 2.5);
  EXPECT_EQ(even.lower_quartile, 1.75);
}

TEST(StatisticsTest, OneValueIsEverything) {
  const Summary one = summarize(std::vector<double>{2.5});
  EXPECT_EQ(one.median, 2.5);
  EXPECT_EQ(one.min, 2.5);
  EXPECT_EQ(one.upper_quartile, 2.5);
  EXPECT_EQ(one.standard_deviation, 0);
}

}  // namespace
}  // namespace dsv3::benchmark
