#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace dsv3::formats {

// What the encoders of Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 take from a block of 32 elements.

/// The element of largest magnitude, the first if there are several.
inline float peak(const float* x) {
  // Bits of magnitudes have the order of magnitudes, and GCC makes vectors of their maximum.
  uint32_t largest = 0;
  for (int i = 0; i < 32; ++i) {
    largest = std::max(largest, std::bit_cast<uint32_t>(x[i]) & 0x7FFFFFFF);
  }
  int first = 0;
  while ((std::bit_cast<uint32_t>(x[first]) & 0x7FFFFFFF) != largest) ++first;
  return x[first];
}

struct Range {
  float low;
  float high;
};
inline Range range(const float* x) {
  Range r{x[0], x[0]};
  for (int i = 1; i < 32; ++i) {
    r.low = x[i] < r.low ? x[i] : r.low;
    r.high = x[i] > r.high ? x[i] : r.high;
  }
  return r;
}

/// 1 / d; 0 where that is not finite, whose block becomes zero as d does in float16.
inline float inverse_or_zero(float d) {
  const float inverse = 1.0f / d;
  return std::fabs(inverse) <= std::numeric_limits<float>::max() ? inverse : 0.0f;
}

}  // namespace dsv3::formats
