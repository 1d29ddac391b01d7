#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>

namespace dsv3 {

/// Persistent worker threads. One process-wide pool serves all kernels.
class ThreadPool {
 public:
  /// Threads in all, the caller's included; at least 1.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  /// Runs f(i) for i in [0, n), on all threads; tasks are handed out one by one in order, so put
  /// the largest first. Returns when all are done. A call from inside a task runs serially. If
  /// tasks throw, one of the exceptions is thrown here after all have ended.
  template <typename F>
  void parallel_for(int64_t n, F&& f) {
    using Fn = std::remove_reference_t<F>;
    run(
        n, [](void* context, int64_t i) { (*static_cast<Fn*>(context))(i); },
        const_cast<void*>(static_cast<const void*>(&f)));
  }

 private:
  void run(int64_t n, void (*task)(void*, int64_t), void* context);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The pool that the kernels use. Made on first use with as many threads as the process may run on.
ThreadPool& thread_pool();
/// Replaces it; call it before any model runs. 0: as many as the process may run on.
void set_num_threads(int threads);
/// Lets this process run on some processors only: "0-3,8", or a mask "0xf0f" whose bit i is
/// processor i. Call it before set_num_threads. Throws Error if it cannot be read or names none of
/// the processors that the process may run on.
void set_cpus(const std::string& cpus);

}  // namespace dsv3
