#pragma once

#include <array>
#include <cstdint>

#include "formats/half.h"

namespace dsv3::formats {

/// Q2_K: 2-bit codes; each 16 of 256 elements have a 4-bit scale and a 4-bit minimum. 84 bytes,
/// 2.625 bits an element.
///
///     byte  0                    16                                     80     82     84
///           | scales             | q                                    | d    | dmin |
///
///     group g = elements 16 g to 16 g + 15: scale = low, minimum = high half of scales[g]
///     element 128 h + 32 j + i: bits 2 j and 2 j + 1 of byte q[32 h + i]   (h < 2, j < 4, i < 32)
///
/// x = (d * scale) * q - dmin * minimum; d and dmin are float16. Largest values: 15 * 3 * 65504,
/// -15 * 65504. Encoded by a search for the scales of least weighted error (scale_search.h).
struct BlockQ2_K {
  std::array<uint8_t, 16> scales;
  std::array<uint8_t, 64> q;
  Half d;
  Half dmin;
};
static_assert(sizeof(BlockQ2_K) == 84);

void decode_q2_k(const void* blocks, int64_t n, float* out);
void encode_q2_k(const float* x, int64_t n, const float* importance, void* blocks);

}  // namespace dsv3::formats
