#include "base/thread_pool.h"

#include <sched.h>

#include <atomic>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <exception>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/profile.h"

namespace dsv3 {
namespace {

// Waiting threads look at the flag this often before they sleep: a decode step has a few hundred
// parallel regions some microseconds apart, and a futex wake-up costs more than that. Short enough
// that a core which another process wants is soon given up.
constexpr int kSpins = 4000;

inline void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void wait_while_equal(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    cpu_relax();
  }
  value.wait(old, std::memory_order_acquire);
}

thread_local bool inside_task = false;

}  // namespace

struct ThreadPool::Impl {
  std::vector<std::thread> workers;
  std::mutex caller;  // one parallel region at a time

  // The current region. Written by the caller before it raises `generation`.
  void (*task)(void*, int64_t) = nullptr;
  void* context = nullptr;
  int64_t n = 0;
  std::atomic<int64_t> next{0};
  std::atomic<uint32_t> generation{0};
  std::atomic<uint32_t> finished{0};  // workers that have left the region
  std::atomic<bool> stop{false};
  std::mutex error_mutex;
  std::exception_ptr error;

  void take_tasks() {
    inside_task = true;
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) {
      try {
        task(context, i);
      } catch (...) {
        std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
      }
    }
    inside_task = false;
  }

  void end_workers() {
    stop = true;
    generation.fetch_add(1, std::memory_order_release);
    generation.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void work() {
    uint32_t seen = 0;
    while (true) {
      wait_while_equal(generation, seen);
      seen = generation.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_relaxed)) return;
      take_tasks();
      finished.fetch_add(1, std::memory_order_release);
      finished.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int threads) : impl_(new Impl) {
  try {
    for (int i = 1; i < threads; ++i) impl_->workers.emplace_back([this] { impl_->work(); });
  } catch (const std::exception& e) {
    const size_t started = impl_->workers.size();
    impl_->end_workers();
    fail("cannot start {} threads, only {}: {}", threads, started, e.what());
  }
}

ThreadPool::~ThreadPool() { impl_->end_workers(); }

int ThreadPool::size() const { return static_cast<int>(impl_->workers.size()) + 1; }

void ThreadPool::run(int64_t n, void (*task)(void*, int64_t), void* context) {
  if (inside_task || impl_->workers.empty() || n <= 1) {
    for (int64_t i = 0; i < n; ++i) task(context, i);
    return;
  }
  std::lock_guard lock(impl_->caller);
  impl_->task = task;
  impl_->context = context;
  impl_->n = n;
  impl_->error = nullptr;
  impl_->next.store(0, std::memory_order_relaxed);
  impl_->finished.store(0, std::memory_order_relaxed);
  impl_->generation.fetch_add(1, std::memory_order_release);
  impl_->generation.notify_all();
  impl_->take_tasks();
  const profile::Waiting waiting;
  const auto workers = static_cast<uint32_t>(impl_->workers.size());
  for (uint32_t done; (done = impl_->finished.load(std::memory_order_acquire)) != workers;) {
    wait_while_equal(impl_->finished, done);
  }
  if (impl_->error) std::rethrow_exception(std::exchange(impl_->error, nullptr));
}

namespace {

int allowed_cpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

std::unique_ptr<ThreadPool>& pool() {
  static auto instance = std::make_unique<ThreadPool>(allowed_cpus());
  return instance;
}

}  // namespace

ThreadPool& thread_pool() { return *pool(); }

namespace {

// Numbers of processors in a list or mask; empty if it is neither.
std::vector<int> parse_cpus(const std::string& text) {
  std::vector<int> cpus;
  const auto number = [&](const std::string& digits) {
    const bool valid = !digits.empty() && digits.size() <= 4 &&
                       digits.find_first_not_of("0123456789") == std::string::npos;
    return valid ? std::stoi(digits) : -1;
  };
  if (text.starts_with("0x")) {
    for (size_t i = text.size(); i-- > 2;) {
      const auto digit =
          std::string("0123456789abcdef").find(static_cast<char>(std::tolower(text[i])));
      if (digit == std::string::npos) return {};
      for (int bit = 0; bit < 4; ++bit) {
        if ((digit >> bit & 1) != 0)
          cpus.push_back(static_cast<int>(text.size() - 1 - i) * 4 + bit);
      }
    }
    return cpus;
  }
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    const size_t dash = part.find('-');
    const int first = number(part.substr(0, dash));
    const int last = dash == std::string::npos ? first : number(part.substr(dash + 1));
    if (first < 0 || last < first) return {};
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

}  // namespace

void set_cpus(const std::string& cpus) {
  const std::vector<int> wanted = parse_cpus(cpus);
  if (wanted.empty()) {
    fail("processors: expected a list such as 0-3,8 or a mask such as 0xf, found '{}'", cpus);
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : wanted) {
    if (cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
  }
  if (sched_setaffinity(0, sizeof(set), &set) != 0) {
    fail("processors: this process cannot run on '{}': {}", cpus, std::strerror(errno));
  }
}

void set_num_threads(int threads) {
  pool() = std::make_unique<ThreadPool>(threads > 0 ? threads : allowed_cpus());
}

}  // namespace dsv3
