#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace dsv3::kernels {

/// Float memory that only grows: work space without an allocation per call. 64-byte aligned, in
/// huge pages where the system has them and it pays; contents undefined after `get`.
class Scratch {
 public:
  static constexpr size_t kHugePage = size_t{2} << 20;

  float* get(int64_t floats) {
    if (floats > capacity_) {
      const size_t wanted = static_cast<size_t>(floats) * sizeof(float);
      const size_t page = wanted >= 2 * kHugePage ? kHugePage : 4096;
      const size_t bytes = (wanted + page - 1) / page * page;
      memory_.reset(static_cast<float*>(std::aligned_alloc(page, bytes)));
      if (!memory_) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
      if (page == kHugePage) madvise(memory_.get(), bytes, MADV_HUGEPAGE);
#endif
      capacity_ = static_cast<int64_t>(bytes / sizeof(float));
    }
    return memory_.get();
  }
  void* get_bytes(size_t bytes) {
    return get(static_cast<int64_t>((bytes + sizeof(float) - 1) / sizeof(float)));
  }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> memory_;
  int64_t capacity_ = 0;
};

}  // namespace dsv3::kernels
