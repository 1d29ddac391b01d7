#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "dsv3/chat_template.h"

namespace dsv3::jinja {

/// An error while rendering, before its place in the source is known.
struct Failure {
  std::string message;
  bool raised_by_template = false;
};

template <typename... Args>
[[noreturn]] void raise(fmt::format_string<Args...> format, Args&&... args) {
  throw Failure{fmt::format(format, std::forward<Args>(args)...)};
}

/// Counts what one rendering uses, and raises at the limits.
class Meter {
 public:
  explicit Meter(const TemplateLimits& limits) : limits_(limits) {}
  Meter(const Meter&) = delete;
  Meter& operator=(const Meter&) = delete;

  const TemplateLimits& limits() const { return limits_; }

  void step(uint64_t n = 1) {
    steps_ += n;
    if (steps_ > limits_.max_steps) raise("more than {} steps", limits_.max_steps);
  }
  /// Before text of this size is made or read through.
  void step_text(size_t bytes) { step(bytes / 32); }

  /// Before a string of this size is made.
  void check_string(size_t bytes) const {
    if (bytes > limits_.max_string_bytes) {
      raise("a text of {} bytes is over the limit of {}", bytes, limits_.max_string_bytes);
    }
  }
  /// How long a list may be that is made now.
  size_t max_items() const {
    return static_cast<size_t>(
        std::min<uint64_t>(limits_.max_memory_bytes / 16, limits_.max_steps - steps_));
  }
  /// Before a list of this length is made.
  void check_items(size_t items) {
    if (items > limits_.max_memory_bytes / 16) raise("a list of {} items is too long", items);
    step(items);
  }

  void allocate(size_t bytes) {
    if (bytes > limits_.max_memory_bytes - used_) {
      raise("more than {} bytes of values", limits_.max_memory_bytes);
    }
    used_ += bytes;
  }
  void release(size_t bytes) { used_ -= bytes; }

 private:
  TemplateLimits limits_;
  uint64_t steps_ = 0;
  size_t used_ = 0;
};

}  // namespace dsv3::jinja
