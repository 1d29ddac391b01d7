#include "base/thread_pool.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "dsv3/error.h"

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
  pool.parallel_for(
      8, [&](int64_t) { pool.parallel_for(8, [&](int64_t j) { sum += static_cast<int>(j); }); });
  EXPECT_EQ(sum, 8 * 28);
}

TEST(ThreadPoolTest, ExceptionReachesTheCallerAndThePoolStaysUsable) {
  ThreadPool pool(4);
  EXPECT_THROW(pool.parallel_for(100,
                                 [](int64_t i) {
                                   if (i == 57) throw std::runtime_error("57");
                                 }),
               std::runtime_error);
  std::atomic<int> ran = 0;
  pool.parallel_for(100, [&](int64_t) { ++ran; });
  EXPECT_EQ(ran, 100);
}

TEST(ThreadPoolTest, CallsFromSeveralThreadsAreServedInTurn) {
  ThreadPool pool(3);
  std::vector<std::thread> callers;
  std::atomic<int> wrong = 0;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        std::vector<int> done(17, 0);  // plain ints: each task is the only one to touch its own
        pool.parallel_for(17, [&](int64_t i) { ++done[i]; });
        for (const int d : done) wrong += d == 1 ? 0 : 1;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

TEST(ThreadPoolTest, WhatTasksWroteIsSeenByTheCallerAndTheNextRegion) {
  ThreadPool pool(4);
  std::vector<int64_t> values(64, 0);
  for (int round = 1; round <= 100; ++round) {
    pool.parallel_for(64, [&](int64_t i) { ++values[i]; });
    pool.parallel_for(64, [&](int64_t i) { values[i] += values[i] == round ? 0 : 1000; });
    for (const int64_t v : values) ASSERT_EQ(v, round);
  }
}

TEST(ThreadPoolTest, PoolsMayEndAtAnyTime) {
  for (int i = 0; i < 50; ++i) {
    ThreadPool pool(1 + i % 4);
    EXPECT_EQ(pool.size(), 1 + i % 4);
    if (i % 3 != 0) pool.parallel_for(i, [](int64_t) {});
  }
}

TEST(ThreadPoolTest, TheSharedPoolCanBeReplaced) {
  set_num_threads(3);
  EXPECT_EQ(thread_pool().size(), 3);
  std::atomic<int> ran = 0;
  thread_pool().parallel_for(10, [&](int64_t) { ++ran; });
  set_num_threads(1);
  EXPECT_EQ(thread_pool().size(), 1);
  thread_pool().parallel_for(10, [&](int64_t) { ++ran; });
  set_num_threads(0);
  EXPECT_GE(thread_pool().size(), 1);
  EXPECT_EQ(ran, 20);
}

TEST(ThreadPoolTest, ProcessorsAreAListOrAMask) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  for (const std::string& cpus :
       {std::to_string(first), std::to_string(first) + "-" + std::to_string(first),
        fmt::format("0x{:x}", 1ull << first)}) {
    set_cpus(cpus);
    set_num_threads(0);
    EXPECT_EQ(thread_pool().size(), 1) << cpus;
  }
  sched_setaffinity(0, sizeof(before), &before);
  for (const char* bad : {"", "x", "1-", "3-1", "0x", "0xg", "-1", "1023", "0x0"}) {
    EXPECT_THROW(set_cpus(bad), Error) << bad;
  }
  set_num_threads(0);
  EXPECT_EQ(thread_pool().size(), CPU_COUNT(&before));
}

}  // namespace
}  // namespace dsv3
