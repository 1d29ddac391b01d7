#pragma once

#include <array>
#include <cstdint>

#include "formats/half.h"

namespace dsv3::formats {

/// Q4_0: 4-bit codes, one scale for 32 elements. 18 bytes, 4.5 bits an element.
///
///     byte  0      2                                              18
///           | d    | q[16] q[0] | q[17] q[1] | ...  | q[31] q[15] |
///                    high  low  half of a byte
///
/// x[i] = d * (q[i] - 8), d a float16 of either sign. Largest value: 8 * 65504. Encoded with d such
/// that the element of largest magnitude has code 0, and q = floor(x / d + 8.5) up to 15 (d as it
/// was before it became float16, as in ggml). With importance: the d of least weighted error.
struct BlockQ4_0 {
  Half d;
  std::array<uint8_t, 16> q;
};
static_assert(sizeof(BlockQ4_0) == 18);

void decode_q4_0(const void* blocks, int64_t n, float* out);
void encode_q4_0(const float* x, int64_t n, const float* importance, void* blocks);

}  // namespace dsv3::formats
