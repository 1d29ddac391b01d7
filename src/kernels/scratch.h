#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace dsv3::kernels {

/// Float memory that only grows: work space without an allocation per call. 64-byte aligned,
/// contents undefined after `get`.
class Scratch {
 public:
  float* get(int64_t floats) {
    if (floats > capacity_) {
      const size_t bytes = (static_cast<size_t>(floats) * sizeof(float) + 4095) / 4096 * 4096;
      memory_.reset(static_cast<float*>(std::aligned_alloc(4096, bytes)));
      if (!memory_) throw std::bad_alloc();
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
