#pragma once

#include <array>
#include <cstdint>

#include "formats/half.h"

namespace dsv3::formats {

/// Q6_K: 6-bit codes, a signed 8-bit scale for each 16 of 256 elements. 210 bytes, 6.5625 bits an
/// element.
///
///     byte  0                              128               192       208    210
///           | q                            | q4              | scales  | d    |
///
///     element 128 h + 64 n + 32 k + i (h, n, k < 2; i < 32): its low four bits are the half n
///     (0: low) of q[64 h + 32 k + i], its upper two bits 4 n + 2 k, 4 n + 2 k + 1 of q4[32 h + i];
///     the code's value is those six bits - 32; group g (16 elements) has scales[g]
///
/// x = (d * scale) * value, d a float16 of either sign. Largest value: 128 * 32 * 65504. Encoded by
/// a search for the scales of least weighted error (scale_search.h).
struct BlockQ6_K {
  std::array<uint8_t, 128> q;
  std::array<uint8_t, 64> q4;
  std::array<int8_t, 16> scales;
  Half d;
};
static_assert(sizeof(BlockQ6_K) == 210);

void decode_q6_k(const void* blocks, int64_t n, float* out);
void encode_q6_k(const float* x, int64_t n, const float* importance, void* blocks);

}  // namespace dsv3::formats
