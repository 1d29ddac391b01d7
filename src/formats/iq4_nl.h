#pragma once

#include <array>
#include <cstdint>

#include "formats/half.h"

namespace dsv3::formats {

/// The sixteen values of IQ4_NL and IQ4_XS: closer together near zero, where most weights are.
/// Source: ggml (kvalues_iq4nl).
inline constexpr std::array<int8_t, 16> kIq4Values = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                      1,    13,   25,  38,  53,  69,  89,  113};

/// IQ4_NL: 4-bit codes of unequally spaced values, one scale for 32 elements. 18 bytes, 4.5 bits an
/// element.
///
///     byte  0      2                                              18
///           | d    | q[16] q[0] | q[17] q[1] | ...  | q[31] q[15] |
///                    high  low  half of a byte
///
/// x[i] = d * kIq4Values[q[i]], d a float16 of either sign. Largest value: 127 * 65504. Encoded by
/// a search for the d of least weighted error (scale_search.h).
struct BlockIQ4_NL {
  Half d;
  std::array<uint8_t, 16> q;
};
static_assert(sizeof(BlockIQ4_NL) == 18);

void decode_iq4_nl(const void* blocks, int64_t n, float* out);
void encode_iq4_nl(const float* x, int64_t n, const float* importance, void* blocks);

}  // namespace dsv3::formats
