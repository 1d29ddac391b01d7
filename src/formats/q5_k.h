#pragma once

#include <array>
#include <cstdint>

#include "formats/half.h"
#include "formats/k_scales.h"

namespace dsv3::formats {

/// Q5_K: 5-bit codes; each 32 of 256 elements have a 6-bit scale and a 6-bit minimum. 176 bytes,
/// 5.5 bits an element.
///
///     byte  0      2      4                  16               48                        176
///           | d    | dmin | scales (KScales) | q4             | q                        |
///
///     element 64 c + i is the low, 64 c + 32 + i the high half of byte q[32 c + i]
///     (c < 4, i < 32); the fifth bit of element 32 g + i is bit g of q4[i] (g < 8)
///
/// x = (d * scale) * q - dmin * minimum; d and dmin are float16. Largest values: 63 * 31 * 65504,
/// -63 * 65504. Encoded by a search for the scales of least weighted error (scale_search.h).
struct BlockQ5_K {
  Half d;
  Half dmin;
  KScales scales;
  std::array<uint8_t, 32> q4;
  std::array<uint8_t, 128> q;
};
static_assert(sizeof(BlockQ5_K) == 176);

void decode_q5_k(const void* blocks, int64_t n, float* out);
void encode_q5_k(const float* x, int64_t n, const float* importance, void* blocks);

}  // namespace dsv3::formats
