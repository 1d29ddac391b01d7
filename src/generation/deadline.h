#pragma once

#include <chrono>
#include <optional>

namespace dsv3::generation {

/// When generation has to end, if ever.
class Deadline {
 public:
  /// `seconds` from now; none: never.
  explicit Deadline(std::optional<double> seconds) : seconds_(seconds) {}
  bool passed() const {
    return seconds_ && std::chrono::duration<double>(Clock::now() - start_).count() > *seconds_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::optional<double> seconds_;
  Clock::time_point start_ = Clock::now();
};

}  // namespace dsv3::generation
