#pragma once

#include <array>
#include <cstdint>

#include "formats/half.h"

namespace dsv3::formats {

/// IQ4_XS: IQ4_NL with a 6-bit scale for each 32 of 256 elements. 136 bytes, 4.25 bits an element.
///
///     byte  0      2          4                8                                  136
///           | d    | scales_h | scales_l       | group 0: q[16] q[0] | ...         |
///
///     scale of group g: s = (scales_l[g / 2] >> 4 * (g % 2) & 15 | (scales_h >> 2 * g & 3) << 4)
///     - 32; its codes: the 16 bytes from q[16 * g] on, of which byte i has element i in its low
///     and i + 16 in its high half
///
/// x = d * s * kIq4Values[q], d a float16 of either sign. Largest value: 32 * 127 * 65504. Encoded
/// by a search for the scales of least weighted error (scale_search.h).
struct BlockIQ4_XS {
  Half d;
  std::array<uint8_t, 2> scales_h;
  std::array<uint8_t, 4> scales_l;
  std::array<uint8_t, 128> q;

  int scale(int group) const {
    const int low = scales_l[group / 2] >> 4 * (group % 2) & 0xF;
    const int high = (scales_h[0] | scales_h[1] << 8) >> 2 * group & 3;
    return (low | high << 4) - 32;
  }
};
static_assert(sizeof(BlockIQ4_XS) == 136);

void decode_iq4_xs(const void* blocks, int64_t n, float* out);
void encode_iq4_xs(const float* x, int64_t n, const float* importance, void* blocks);

}  // namespace dsv3::formats
