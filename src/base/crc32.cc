#include "base/crc32.h"

#include <array>
#include <bit>
#include <cstring>

namespace dsv3 {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr uint32_t kPolynomial = 0xEDB88320;
constexpr size_t kStep = 16;  // bytes taken at once

/// [k][b]: what byte b, with k bytes after it in a step, adds to the remainder.
constexpr std::array<std::array<uint32_t, 256>, kStep> make_tables() {
  std::array<std::array<uint32_t, 256>, kStep> tables{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? kPolynomial : 0);
    tables[0][b] = crc;
  }
  for (size_t k = 1; k < kStep; ++k) {
    for (size_t b = 0; b < 256; ++b) {
      const uint32_t crc = tables[k - 1][b];
      tables[k][b] = crc >> 8 ^ tables[0][crc & 0xFF];
    }
  }
  return tables;
}
constexpr auto kTables = make_tables();

uint32_t fold(uint64_t word, size_t first_table) {
  uint32_t crc = 0;
  for (size_t i = 0; i < 8; ++i) crc ^= kTables[first_table - i][word >> 8 * i & 0xFF];
  return crc;
}

}  // namespace

uint32_t crc32(std::span<const std::byte> bytes, uint32_t before) {
  uint32_t crc = ~before;
  const std::byte* p = bytes.data();
  size_t left = bytes.size();
  for (; left >= kStep; p += kStep, left -= kStep) {
    uint64_t low, high;
    std::memcpy(&low, p, 8);
    std::memcpy(&high, p + 8, 8);
    crc = fold(low ^ crc, kStep - 1) ^ fold(high, kStep - 9);
  }
  for (; left > 0; ++p, --left) {
    crc = crc >> 8 ^ kTables[0][(crc ^ std::to_integer<uint32_t>(*p)) & 0xFF];
  }
  return ~crc;
}

}  // namespace dsv3
