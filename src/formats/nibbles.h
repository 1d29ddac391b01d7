#pragma once

#include <cstdint>

namespace dsv3::formats {

// How the formats with blocks of 32 elements keep their codes: byte i has element i in its low half
// and element i + 16 in its high half. A fifth bit is bit i of a little-endian word of 32.

inline constexpr int kBlock32 = 32;

inline void pack_nibbles(const uint8_t* codes, uint8_t* bytes) {
  for (int i = 0; i < 16; ++i) {
    bytes[i] = static_cast<uint8_t>((codes[i] & 0xF) | (codes[i + 16] & 0xF) << 4);
  }
}
inline void unpack_nibbles(const uint8_t* bytes, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = bytes[i] & 0xF;
    codes[i + 16] = bytes[i] >> 4;
  }
}

inline void pack_fifth_bits(const uint8_t* codes, uint8_t* bytes) {
  for (int b = 0; b < 4; ++b) {
    bytes[b] = 0;
    for (int i = 0; i < 8; ++i) bytes[b] |= static_cast<uint8_t>((codes[8 * b + i] >> 4 & 1) << i);
  }
}
inline void unpack_fifth_bits(const uint8_t* bytes, uint8_t* codes) {
  for (int i = 0; i < kBlock32; ++i) {
    codes[i] |= static_cast<uint8_t>((bytes[i / 8] >> (i % 8) & 1) << 4);
  }
}

}  // namespace dsv3::formats
