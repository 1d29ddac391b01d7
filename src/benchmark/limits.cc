#include "benchmark/limits.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "base/error.h"
#include "base/memory.h"
#include "base/simd.h"
#include "base/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "benchmark/limits.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::benchmark {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Reads n bytes, a multiple of 8 vectors, and returns something that depends on all of them.
uint64_t read_all(const uint8_t* p, size_t n) {
  const hn::ScalableTag<uint64_t> d;
  const size_t lanes = hn::Lanes(d), count = n / sizeof(uint64_t);
  const auto* from = reinterpret_cast<const uint64_t*>(p);
  auto a = hn::Zero(d), b = a, c = a, e = a;
  for (size_t i = 0; i + 8 * lanes <= count; i += 8 * lanes) {
    a = hn::Xor(a, hn::Load(d, from + i));
    b = hn::Xor(b, hn::Load(d, from + i + lanes));
    c = hn::Xor(c, hn::Load(d, from + i + 2 * lanes));
    e = hn::Xor(e, hn::Load(d, from + i + 3 * lanes));
    a = hn::Xor(a, hn::Load(d, from + i + 4 * lanes));
    b = hn::Xor(b, hn::Load(d, from + i + 5 * lanes));
    c = hn::Xor(c, hn::Load(d, from + i + 6 * lanes));
    e = hn::Xor(e, hn::Load(d, from + i + 7 * lanes));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Xor(hn::Xor(a, b), hn::Xor(c, e))));
}

// Twelve independent sums hide the latency of two multipliers and fit sixteen registers. They begin
// differently, so that the compiler does not make one of them; `seed` keeps it from calculating.
float multiply_add(int64_t n, float seed) {
  const hn::ScalableTag<float> d;
  const auto x = hn::Set(d, seed), y = hn::Set(d, seed * 0.5f);
  auto s0 = x, s1 = hn::Add(s0, y), s2 = hn::Add(s1, y), s3 = hn::Add(s2, y), s4 = hn::Add(s3, y),
       s5 = hn::Add(s4, y), s6 = hn::Add(s5, y), s7 = hn::Add(s6, y), s8 = hn::Add(s7, y),
       s9 = hn::Add(s8, y), s10 = hn::Add(s9, y), s11 = hn::Add(s10, y);
  for (int64_t i = 0; i < n; ++i) {
    s0 = hn::MulAdd(x, y, s0);
    s1 = hn::MulAdd(x, y, s1);
    s2 = hn::MulAdd(x, y, s2);
    s3 = hn::MulAdd(x, y, s3);
    s4 = hn::MulAdd(x, y, s4);
    s5 = hn::MulAdd(x, y, s5);
    s6 = hn::MulAdd(x, y, s6);
    s7 = hn::MulAdd(x, y, s7);
    s8 = hn::MulAdd(x, y, s8);
    s9 = hn::MulAdd(x, y, s9);
    s10 = hn::MulAdd(x, y, s10);
    s11 = hn::MulAdd(x, y, s11);
  }
  s0 =
      hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), hn::Add(hn::Add(s4, s5), hn::Add(s6, s7)));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, hn::Add(hn::Add(s8, s9), hn::Add(s10, s11)))));
}

int64_t multiply_add_operations() {
  return static_cast<int64_t>(12 * 2 * hn::Lanes(hn::ScalableTag<float>()));
}

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::benchmark
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dsv3::benchmark {
namespace {

HWY_EXPORT(read_all);
HWY_EXPORT(multiply_add);
HWY_EXPORT(multiply_add_operations);

using Clock = std::chrono::steady_clock;

constexpr int kTries = 9;
constexpr size_t kChunk = 1 << 20;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::atomic<uint64_t> sink;  // so that no result is superfluous

/// Memory as weights have it at best: huge pages, all of them present.
class ReadBuffer {
 public:
  explicit ReadBuffer(size_t bytes) : bytes_(bytes / kChunk * kChunk) {
    data_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data_ == MAP_FAILED) fail("no memory to measure its speed: {} bytes", bytes_);
    madvise(data_, bytes_, MADV_HUGEPAGE);
    thread_pool().parallel_for(chunks(), [&](int64_t i) { std::memset(chunk(i), 1, kChunk); });
  }
  ~ReadBuffer() { munmap(data_, bytes_); }
  ReadBuffer(const ReadBuffer&) = delete;
  ReadBuffer& operator=(const ReadBuffer&) = delete;

  int64_t chunks() const { return static_cast<int64_t>(bytes_ / kChunk); }
  uint8_t* chunk(int64_t i) const {
    return static_cast<uint8_t*>(data_) + static_cast<size_t>(i) * kChunk;
  }

 private:
  size_t bytes_;
  void* data_;
};

double read_speed() {
  const int64_t wanted = std::min<int64_t>(int64_t{1} << 30, usable_memory_bytes() / 8);
  const ReadBuffer buffer(static_cast<size_t>(std::max<int64_t>(wanted, kChunk)));
  // A thread reads a contiguous run of the memory, as in a matrix product; more runs than threads,
  // so that none waits long for the last.
  const int64_t runs = std::min<int64_t>(buffer.chunks(), 8 * thread_pool().size());
  double best = 0;
  for (int i = 0; i < kTries; ++i) {
    const auto begin = Clock::now();
    thread_pool().parallel_for(runs, [&](int64_t run) {
      const int64_t first = run * buffer.chunks() / runs, last = (run + 1) * buffer.chunks() / runs;
      const size_t bytes = static_cast<size_t>(last - first) * kChunk;
      sink += HWY_DYNAMIC_DISPATCH(read_all)(buffer.chunk(first), bytes);
    });
    best = std::max(best, static_cast<double>(buffer.chunks()) * kChunk / seconds_since(begin));
  }
  return best;
}

/// Operations a second of all threads together.
double loop_speed(const PeakLoop& loop) {
  constexpr double kTrySeconds = 0.03;
  // How many iterations take a thread an eighth of a try; the first call also wakes the unit up.
  int64_t n = 1000;
  for (;; n *= 4) {
    const auto begin = Clock::now();
    loop.run(n);
    if (seconds_since(begin) > kTrySeconds / 16) break;
  }
  const int64_t tasks = 8 * thread_pool().size();
  double best = 0;
  for (int i = 0; i < kTries; ++i) {
    const auto begin = Clock::now();
    thread_pool().parallel_for(tasks, [&](int64_t) { loop.run(n); });
    const double operations = loop.operations * static_cast<double>(n * tasks);
    best = std::max(best, operations / seconds_since(begin));
  }
  return best;
}

}  // namespace

const Peak& Limits::best(bool with_integers) const {
  const Peak* best = &peaks.front();
  for (const Peak& peak : peaks) {
    if (peak.per_second > best->per_second && (with_integers || !peak.integer)) best = &peak;
  }
  return *best;
}

Limits measure_limits() {
  Limits limits{
      .threads = thread_pool().size(), .read_bytes_per_second = read_speed(), .peaks = {}};
  std::vector<PeakLoop> loops = {
      {"float32 FMA", false, static_cast<double>(HWY_DYNAMIC_DISPATCH(multiply_add_operations)()),
       [](int64_t n) {
         sink += static_cast<uint64_t>(HWY_DYNAMIC_DISPATCH(multiply_add)(n, 0.5f) != 1.0f);
       }}};
  for (PeakLoop& loop : x86_peak_loops()) loops.push_back(std::move(loop));
  for (const PeakLoop& loop : loops) {
    limits.peaks.push_back({loop.name, loop_speed(loop), loop.integer});
  }
  return limits;
}

}  // namespace dsv3::benchmark
#endif  // HWY_ONCE
