#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace dsv3 {
namespace {

TEST(ThreadPoolTest, RunsEveryTaskOnce) {
  ThreadPool pool(4);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::atomic<int>> counts(round);
    pool.parallel_for(round, [&](int64_t i) { ++counts[i]; });
    for (const auto& count : counts) EXPECT_EQ(count, 1);
  }
}

TEST(ThreadPoolTest, NestedCallsRunSerially) {
  ThreadPool pool(3);
  std::atomic<int> sum = 0;
  pool.parallel_for(8, [&](int64_t) { pool.parallel_for(8, [&](int64_t j) { sum += static_cast<int>(j); }); });
  EXPECT_EQ(sum, 8 * 28);
}

TEST(ThreadPoolTest, ExceptionReachesTheCallerAndThePoolStaysUsable) {
  ThreadPool pool(4);
  EXPECT_THROW(pool.parallel_for(100, [](int64_t i) {
    if (i == 57) throw std::runtime_error("57");
  }),
               std::runtime_error);
  std::atomic<int> ran = 0;
  pool.parallel_for(100, [&](int64_t) { ++ran; });
  EXPECT_EQ(ran, 100);
}

}  // namespace
}  // namespace dsv3
