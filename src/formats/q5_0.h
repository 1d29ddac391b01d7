#pragma once

#include <array>
#include <cstdint>

#include "formats/half.h"

namespace dsv3::formats {

/// Q5_0: 5-bit codes, one scale for 32 elements. 22 bytes, 5.5 bits an element.
///
///     byte  0      2             6                                              22
///           | d    | q4: bit i   | q[16] q[0] | q[17] q[1] | ...  | q[31] q[15] |
///                  | is of q[i]  | high  low  half of a byte: the four low bits
///
/// x[i] = d * (q[i] - 16), d a float16 of either sign. Largest value: 16 * 65504. Encoded as Q4_0,
/// with 16.5 for 8.5 and 31 for 15.
struct BlockQ5_0 {
  Half d;
  std::array<uint8_t, 4> q4;
  std::array<uint8_t, 16> q;
};
static_assert(sizeof(BlockQ5_0) == 22);

void decode_q5_0(const void* blocks, int64_t n, float* out);
void encode_q5_0(const float* x, int64_t n, const float* importance, void* blocks);

}  // namespace dsv3::formats
