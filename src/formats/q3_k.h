#pragma once

#include <array>
#include <cstdint>

#include "formats/half.h"

namespace dsv3::formats {

/// Q3_K: 3-bit codes, a signed 6-bit scale for each 16 of 256 elements. 110 bytes, 3.4375 bits an
/// element.
///
///     byte  0                  32                              96         108    110
///           | q2               | q                             | scales   | d    |
///
///     element 128 h + 32 j + i (h < 2, j < 4, i < 32): its low two bits are bits 2 j, 2 j + 1 of
///     q[32 h + i], its third bit is bit 4 h + j of q2[i]; the code's value is those three bits - 4
///     scale of group g (16 elements): its low four bits are the half g / 8 (0: low) of
///     scales[g % 8], its upper two bits 2 (g / 4), 2 (g / 4) + 1 of scales[8 + g % 4]; less 32
///
/// x = (d * scale) * value, d a float16 of either sign. Largest value: 32 * 4 * 65504. Encoded by a
/// search for the scales of least weighted error (scale_search.h).
struct BlockQ3_K {
  std::array<uint8_t, 32> q2;
  std::array<uint8_t, 64> q;
  std::array<uint8_t, 12> scales;
  Half d;

  int scale(int group) const {
    const int low = scales[group % 8] >> 4 * (group / 8) & 0xF;
    const int high = scales[8 + group % 4] >> 2 * (group / 4) & 3;
    return (low | high << 4) - 32;
  }
};
static_assert(sizeof(BlockQ3_K) == 110);

void decode_q3_k(const void* blocks, int64_t n, float* out);
void encode_q3_k(const float* x, int64_t n, const float* importance, void* blocks);

}  // namespace dsv3::formats
