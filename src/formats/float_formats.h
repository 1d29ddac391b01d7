#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace dsv3::formats {

// Scalar conversions of the small float formats to and from float32. They are the definition that
// the vector kernels are tested against. Every conversion to a narrower format rounds to nearest,
// ties to even.

/// bfloat16: the upper half of a float32. 8 exponent bits, 7 mantissa bits.
inline float bf16_to_float(uint16_t x) { return std::bit_cast<float>(uint32_t{x} << 16); }

inline uint16_t float_to_bf16(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  if (std::isnan(f)) return static_cast<uint16_t>((bits >> 16) | 0x40);  // stays a (quiet) NaN
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

/// IEEE binary16: 5 exponent bits (bias 15), 10 mantissa bits, largest value 65504.
inline float f16_to_float(uint16_t x) {
  const uint32_t sign = uint32_t{x} >> 15 << 31;
  const uint32_t exponent = (x >> 10) & 0x1F;
  const uint32_t mantissa = x & 0x3FF;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000 | mantissa << 13);
  // Normal and subnormal alike: put the bits at the float's place and repair the exponent by a
  // multiplication, which is exact.
  const float magnitude = std::bit_cast<float>(uint32_t{x & 0x7FFFu} << 13) * 0x1p112f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
}

inline uint16_t float_to_f16(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  const auto sign = static_cast<uint16_t>(bits >> 31 << 15);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return sign | 0x7E00;
  if (magnitude >= 0x477FF000) return sign | 0x7C00;  // 65520 and up round to infinity
  if (magnitude < 0x38800000) {                       // below 2^-14: subnormal, in units of 2^-24
    const float units = std::bit_cast<float>(magnitude) * 0x1p24f;
    return sign | static_cast<uint16_t>(std::nearbyintf(units));
  }
  const uint32_t rounded = magnitude + 0xFFF + ((magnitude >> 13) & 1);
  return sign | static_cast<uint16_t>((rounded - 0x38000000) >> 13);
}

/// FP8 e4m3 ("e4m3fn"): 4 exponent bits (bias 7), 3 mantissa bits, no infinity; 0x7F and 0xFF are
/// NaN; largest value 448, smallest subnormal 2^-9.
inline constexpr float kE4M3Max = 448.0f;

inline float e4m3_to_float(uint8_t x) {
  if ((x & 0x7F) == 0x7F) return std::numeric_limits<float>::quiet_NaN();
  const uint32_t exponent = (x >> 3) & 0xF;
  const uint32_t mantissa = x & 0x7;
  const float magnitude = exponent == 0
                              ? static_cast<float>(mantissa) * 0x1p-9f
                              : std::bit_cast<float>((exponent + 120) << 23 | mantissa << 20);
  return (x & 0x80) != 0 ? -magnitude : magnitude;
}

/// Values beyond 448 saturate to 448, as an activation quantiser wants; NaN stays NaN.
inline uint8_t float_to_e4m3(float f) {
  const auto sign = static_cast<uint8_t>(std::bit_cast<uint32_t>(f) >> 31 << 7);
  if (std::isnan(f)) return sign | 0x7F;
  const float magnitude = std::fabs(f);
  if (magnitude >= kE4M3Max) return sign | 0x7E;
  if (magnitude < 0x1p-6f) {  // subnormal: units of 2^-9; 8 units are the smallest normal value
    return sign | static_cast<uint8_t>(std::nearbyintf(magnitude * 0x1p9f));
  }
  const uint32_t bits = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = bits + 0x7FFFF + ((bits >> 20) & 1);
  const uint32_t code = (rounded >> 20) - (120u << 3);
  return sign | static_cast<uint8_t>(code > 0x7E ? 0x7E : code);
}

/// E8M0: a power of two, 2^(x - 127); 0xFF is NaN. Scales of "ue8m0" checkpoints.
inline float e8m0_to_float(uint8_t x) {
  if (x == 0xFF) return std::numeric_limits<float>::quiet_NaN();
  return x == 0 ? 0x1p-127f : std::bit_cast<float>(uint32_t{x} << 23);
}

}  // namespace dsv3::formats
