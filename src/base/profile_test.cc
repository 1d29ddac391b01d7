#include "base/profile.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <thread>

namespace dsv3::profile {
namespace {

void spend(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

TEST(ProfileTest, TimeOfAnInnerScopeIsNotTheOuterOnes) {
  start();
  {
    const Scope outer(Op::kAttention);
    spend(2);
    {
      const Scope inner(Op::kRouter);
      spend(20);
    }
    spend(2);
  }
  const Times times = stop();
  EXPECT_GE(times.of(Op::kAttention), 4'000'000);
  EXPECT_GE(times.of(Op::kRouter), 20'000'000);
  EXPECT_EQ(times.of(Op::kHead), 0);
}

TEST(ProfileTest, TimesAddUpToWhatHasPassed) {
  const auto begin = std::chrono::steady_clock::now();
  start();
  spend(3);
  {
    const Scope scope(Op::kHead);
    spend(3);
  }
  const Times times = stop();
  const int64_t passed = std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin).count();
  const int64_t sum = std::accumulate(times.all.begin(), times.all.end(), int64_t{0});
  EXPECT_GE(sum, 6'000'000);
  EXPECT_LE(sum, passed);
  EXPECT_GE(times.of(Op::kOther), 3'000'000);
}

TEST(ProfileTest, WaitingIsAPartOfItsOperator) {
  start();
  {
    const Scope scope(Op::kDown);
    spend(2);
    {
      const Waiting waiting;
      spend(5);
    }
    spend(2);
  }
  const Times times = stop();
  EXPECT_GE(times.of(Op::kDown), 9'000'000);
  EXPECT_GE(times.waiting_in(Op::kDown), 5'000'000);
  EXPECT_LE(times.waiting_in(Op::kDown), times.of(Op::kDown) - 4'000'000);
  EXPECT_EQ(times.waiting_in(Op::kOther), 0);
}

TEST(ProfileTest, OtherThreadsAndOtherTimesDoNotCount) {
  { const Scope scope(Op::kRouter); }
  start();
  std::thread([] {
    const Scope scope(Op::kDown);
    spend(1);
  }).join();
  const Times times = stop();
  EXPECT_EQ(times.of(Op::kDown), 0);
  EXPECT_EQ(times.of(Op::kRouter), 0);
}

TEST(ProfileTest, AScopeMayOutliveTheMeasurement) {
  start();
  {
    const Scope scope(Op::kRouter);
    stop();
  }
  start();
  EXPECT_EQ(stop().of(Op::kRouter), 0);
}

}  // namespace
}  // namespace dsv3::profile
