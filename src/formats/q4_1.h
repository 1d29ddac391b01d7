#pragma once

#include <array>
#include <cstdint>

#include "formats/half.h"

namespace dsv3::formats {

/// Q4_1: 4-bit codes, one scale and one offset for 32 elements. 20 bytes, 5 bits an element.
///
///     byte  0      2      4                                              20
///           | d    | m    | q[16] q[0] | q[17] q[1] | ...  | q[31] q[15] |
///                           high  low  half of a byte
///
/// x[i] = d * q[i] + m; d and m are float16. Largest value: 15 * 65504 + 65504. Encoded with m the
/// least element, d = (largest - m) / 15 and q = floor((x - m) / d + 0.5) (d and m as they were
/// before they became float16, as in ggml). With importance: the d and m of least weighted error.
struct BlockQ4_1 {
  Half d;
  Half m;
  std::array<uint8_t, 16> q;
};
static_assert(sizeof(BlockQ4_1) == 20);

void decode_q4_1(const void* blocks, int64_t n, float* out);
void encode_q4_1(const float* x, int64_t n, const float* importance, void* blocks);

}  // namespace dsv3::formats
