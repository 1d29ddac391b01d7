#pragma once

#include <cstdint>

#include "formats/float_formats.h"

namespace dsv3::formats {

/// A float16 inside a block: two bytes, the low one first, at any address.
struct Half {
  uint8_t low;
  uint8_t high;

  float value() const { return f16_to_float(static_cast<uint16_t>(low | high << 8)); }
  static Half from_bits(uint16_t bits) {
    return {static_cast<uint8_t>(bits & 0xFF), static_cast<uint8_t>(bits >> 8)};
  }
  /// Nearest, ties to even.
  static Half nearest(float x) { return from_bits(float_to_f16(x)); }
};
static_assert(sizeof(Half) == 2 && alignof(Half) == 1);

}  // namespace dsv3::formats
