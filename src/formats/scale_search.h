#pragma once

#include <cstdint>

#include "formats/half.h"

namespace dsv3::formats {

// The search for scales, which all formats with scales of scales share, and the simple formats when
// they are given importances. It works on 256 elements in groups that have a scale each, and looks
// for the scales and codes of least
//
//     sum over i of weight[i] * (x[i] - decoded[i])^2
//
// in these steps (scale_search-inl.h has the weights):
//
//  1. For each group on its own, a range of scales is tried: codes by rounding, then the scale (and
//     minimum) that fits these codes best by least squares. The best one is improved by taking
//     turns between rounding and fitting.
//  2. The scale of all scales is chosen among some that keep the groups' scales within their
//  integers.
//  3. Each group's integer scale (and minimum) is chosen among neighbours by the error that it
//  gives
//     with the codes that suit it, and then the scale of scales is fitted to all codes by least
//     squares. This is repeated as long as the error falls, a few times at most.
//
// Groups lie side by side in the lanes of vectors, and no operation is fused, so every processor
// finds the same bytes.

inline constexpr int kSearchElements = 256;

/// What the codes of a format without minimum stand for.
struct CodeValues {
  /// Integers from `lowest` to `highest`, or kIq4Values.
  enum Kind { kIntegers, kIq4 } kind = kIntegers;
  int lowest = 0;
  int highest = 0;
};

/// 256 elements as groups with an integer scale each: x = d * scale[g] * value(code).
struct ScaledCodes {
  Half d;
  int8_t scale[16];
  uint8_t code[kSearchElements];  ///< integer value - lowest, or the index into kIq4Values
};
/// `groups` is 8 or 16. Scales are in [-scale_limit, scale_limit).
void search_scales(const float* x, const float* importance, int groups, CodeValues values,
                   int scale_limit, ScaledCodes* out);

/// The same with a minimum: x = d * scale[g] * code - dmin * minimum[g].
struct ScaledCodesWithMinima {
  Half d;
  Half dmin;
  uint8_t scale[16];
  uint8_t minimum[16];
  uint8_t code[kSearchElements];
};
/// `groups` is 8 or 16. Codes are 0 to highest_code, scales and minima 0 to highest_scale.
void search_scales_and_minima(const float* x, const float* importance, int groups, int highest_code,
                              int highest_scale, ScaledCodesWithMinima* out);

/// Blocks of 32 elements that have a float16 scale each, `blocks` (1 to 8) at once:
/// x = d[b] * value(code).
struct BlockScales {
  Half d[8];
  uint8_t code[kSearchElements];
};
void search_block_scales(const float* x, const float* importance, int blocks, CodeValues values,
                         BlockScales* out);

/// The same with a float16 offset: x = d[b] * code + m[b], codes 0 to highest_code.
struct BlockScalesAndOffsets {
  Half d[8];
  Half m[8];
  uint8_t code[kSearchElements];
};
void search_block_scales_and_offsets(const float* x, const float* importance, int blocks,
                                     int highest_code, BlockScalesAndOffsets* out);

}  // namespace dsv3::formats
