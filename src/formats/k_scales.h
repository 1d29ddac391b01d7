#pragma once

#include <array>
#include <cstdint>

namespace dsv3::formats {

/// The 6-bit scales and minima of the eight groups of a Q4_K or Q5_K block.
///
///     byte    bits 7 6   bits 5 to 0         byte    bits 7 to 4       bits 3 to 0
///     g       scale g+4  scale g             8 + g   minimum g + 4     scale g + 4
///     4 + g   min.  g+4  minimum g                     (their low four bits; the upper
///                                                      two are in the bytes to the left)    g < 4
struct KScales {
  std::array<uint8_t, 12> bytes;

  int scale(int group) const {
    if (group < 4) return bytes[group] & 0x3F;
    return (bytes[group + 4] & 0xF) | bytes[group - 4] >> 6 << 4;
  }
  int minimum(int group) const {
    if (group < 4) return bytes[group + 4] & 0x3F;
    return bytes[group + 4] >> 4 | bytes[group] >> 6 << 4;
  }
  /// From eight scales and eight minima of 0 to 63.
  static KScales pack(const uint8_t* scales, const uint8_t* minima) {
    KScales packed{};
    for (int g = 0; g < 4; ++g) {
      packed.bytes[g] = static_cast<uint8_t>(scales[g] | scales[g + 4] >> 4 << 6);
      packed.bytes[g + 4] = static_cast<uint8_t>(minima[g] | minima[g + 4] >> 4 << 6);
      packed.bytes[g + 8] =
          static_cast<uint8_t>((scales[g + 4] & 0xF) | (minima[g + 4] & 0xF) << 4);
    }
    return packed;
  }
};
static_assert(sizeof(KScales) == 12);

}  // namespace dsv3::formats
