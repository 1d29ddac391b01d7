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

int64_t of(const Times& times, Op op) { return times[static_cast<size_t>(op)]; }

TEST(ProfileTest, TimeOfAnInnerScopeIsNotTheOuterOnes) {
  start();
  {
    const Scope outer(Op::kAttention);
    spend(2);
    {
      const Scope inner(Op::kWait);
      spend(20);
    }
    spend(2);
  }
  const Times times = stop();
  EXPECT_GE(of(times, Op::kAttention), 4'000'000);
  EXPECT_GE(of(times, Op::kWait), 20'000'000);
  EXPECT_EQ(of(times, Op::kHead), 0);
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
  const int64_t sum = std::accumulate(times.begin(), times.end(), int64_t{0});
  EXPECT_GE(sum, 6'000'000);
  EXPECT_LE(sum, passed);
  EXPECT_GE(of(times, Op::kOther), 3'000'000);
}

TEST(ProfileTest, OtherThreadsAndOtherTimesDoNotCount) {
  { const Scope scope(Op::kRouter); }
  start();
  std::thread([] {
    const Scope scope(Op::kDown);
    spend(1);
  }).join();
  const Times times = stop();
  EXPECT_EQ(of(times, Op::kDown), 0);
  EXPECT_EQ(of(times, Op::kRouter), 0);
}

TEST(ProfileTest, AScopeMayOutliveTheMeasurement) {
  start();
  {
    const Scope scope(Op::kRouter);
    stop();
  }
  start();
  EXPECT_EQ(of(stop(), Op::kRouter), 0);
}

}  // namespace
}  // namespace dsv3::profile
