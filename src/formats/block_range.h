#pragma once

#include <cmath>
#include <limits>

namespace dsv3::formats {

// What the encoders of Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 take from a block of 32 elements.

/// The element of largest magnitude, the first if there are several.
inline float peak(const float* x) {
  float best = x[0];
  for (int i = 1; i < 32; ++i) {
    if (std::fabs(x[i]) > std::fabs(best)) best = x[i];
  }
  return best;
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
