#include "benchmark/limits.h"

#include <gtest/gtest.h>

#include "base/thread_pool.h"

namespace dsv3::benchmark {
namespace {

TEST(LimitsTest, EveryLoopOfThisProcessorRuns) {
  for (const PeakLoop& loop : x86_peak_loops()) {
    SCOPED_TRACE(loop.name);
    EXPECT_GT(loop.operations, 0);
    loop.run(1000);
  }
}

TEST(LimitsTest, MeasuredNumbersArePlausible) {
  const Limits limits = measure_limits();
  EXPECT_EQ(limits.threads, thread_pool().size());
  EXPECT_GT(limits.read_bytes_per_second, 1e7);
  EXPECT_LT(limits.read_bytes_per_second, 1e14);
  ASSERT_FALSE(limits.peaks.empty());
  for (const Peak& peak : limits.peaks) {
    EXPECT_GT(peak.per_second, 1e7) << peak.name;
    EXPECT_LT(peak.per_second, 1e17) << peak.name;
  }
}

TEST(LimitsTest, TheBestPeakLeavesIntegersOutUnlessTheyApply) {
  const Limits limits{.peaks = {{"f", 1, false}, {"i", 3, true}, {"b", 2, false}}};
  EXPECT_EQ(limits.best(true).name, "i");
  EXPECT_EQ(limits.best(false).name, "b");
}

}  // namespace
}  // namespace dsv3::benchmark
