#pragma once

#include <array>
#include <cstdint>

#include "formats/half.h"
#include "formats/k_scales.h"

namespace dsv3::formats {

/// Q4_K: 4-bit codes; each 32 of 256 elements have a 6-bit scale and a 6-bit minimum. 144 bytes,
/// 4.5 bits an element.
///
///     byte  0      2      4                 16                               144
///           | d    | dmin | scales (KScales) | q                              |
///
///     element 64 c + i is the low, 64 c + 32 + i the high half of byte q[32 c + i]
///     (c < 4, i < 32)
///
/// x = (d * scale) * q - dmin * minimum; d and dmin are float16. Largest values: 63 * 15 * 65504,
/// -63 * 65504. Encoded by a search for the scales of least weighted error (scale_search.h).
struct BlockQ4_K {
  Half d;
  Half dmin;
  KScales scales;
  std::array<uint8_t, 128> q;
};
static_assert(sizeof(BlockQ4_K) == 144);

void decode_q4_k(const void* blocks, int64_t n, float* out);
void encode_q4_k(const float* x, int64_t n, const float* importance, void* blocks);

}  // namespace dsv3::formats
