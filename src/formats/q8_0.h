#pragma once

#include <array>
#include <cstdint>

#include "formats/half.h"

namespace dsv3::formats {

/// Q8_0: 8-bit integers, one scale for 32 elements. 34 bytes, 8.5 bits an element.
///
///     byte  0      2                            34
///           | d    | q[0] q[1] ...         q[31] |
///
/// x[i] = d * q[i], q signed, d a float16. Largest value: 127 * 65504. Encoded with d = max|x| /
/// 127 and q the nearest integer to x / d, halves away from zero (d as it was before it became
/// float16, as in ggml).
struct BlockQ8_0 {
  Half d;
  std::array<int8_t, 32> q;
};
static_assert(sizeof(BlockQ8_0) == 34);

void decode_q8_0(const void* blocks, int64_t n, float* out);
/// Importance changes nothing: the error is far below that of any other part of a computation.
void encode_q8_0(const float* x, int64_t n, const float* importance, void* blocks);

}  // namespace dsv3::formats
