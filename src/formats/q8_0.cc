#include "formats/q8_0.h"

#include <cmath>

#include "formats/block_range.h"

namespace dsv3::formats {

void decode_q8_0(const void* blocks, int64_t n, float* out) {
  const auto* block = static_cast<const BlockQ8_0*>(blocks);
  for (int64_t b = 0; b < n / 32; ++b) {
    const float d = block[b].d.value();
    for (int i = 0; i < 32; ++i) out[32 * b + i] = d * static_cast<float>(block[b].q[i]);
  }
}

void encode_q8_0(const float* x, int64_t n, const float* /*importance*/, void* blocks) {
  auto* block = static_cast<BlockQ8_0*>(blocks);
  for (int64_t b = 0; b < n / 32; ++b) {
    const float* from = x + 32 * b;
    const float d = std::fabs(peak(from)) / 127.0f;
    const float inverse = inverse_or_zero(d);
    block[b].d = Half::nearest(d);
    for (int i = 0; i < 32; ++i) {
      // Half away from zero. Adding 0.5 and cutting would round 0.49999997 up.
      const float q = from[i] * inverse;
      const auto whole = static_cast<int>(q);
      const float rest = q - static_cast<float>(whole);
      block[b].q[i] = static_cast<int8_t>(whole + (rest >= 0.5f) - (rest <= -0.5f));
    }
  }
}

}  // namespace dsv3::formats
