#pragma once

#include <array>
#include <cstdint>

#include "formats/half.h"

namespace dsv3::formats {

/// Q5_1: 5-bit codes, one scale and one offset for 32 elements. 24 bytes, 6 bits an element.
///
///     byte  0      2      4             8                                              24
///           | d    | m    | q4: bit i   | q[16] q[0] | q[17] q[1] | ...  | q[31] q[15] |
///                         | is of q[i]  | high  low  half of a byte: the four low bits
///
/// x[i] = d * q[i] + m; d and m are float16. Largest value: 31 * 65504 + 65504. Encoded as Q4_1,
/// with 31 for 15.
struct BlockQ5_1 {
  Half d;
  Half m;
  std::array<uint8_t, 4> q4;
  std::array<uint8_t, 16> q;
};
static_assert(sizeof(BlockQ5_1) == 24);

void decode_q5_1(const void* blocks, int64_t n, float* out);
void encode_q5_1(const float* x, int64_t n, const float* importance, void* blocks);

}  // namespace dsv3::formats
