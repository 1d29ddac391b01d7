#include "base/crc32.h"

#include <gtest/gtest.h>

#include <string>

namespace dsv3 {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// The definition, a bit at a time.
uint32_t crc32_by_bits(std::string_view text) {
  uint32_t crc = ~uint32_t{0};
  for (const char c : text) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
  }
  return ~crc;
}

TEST(Crc32Test, IsThatOfZlib) {
  EXPECT_EQ(crc32(bytes_of("123456789")), 0xCBF43926u);
  EXPECT_EQ(crc32({}), 0u);
}

TEST(Crc32Test, LongTextsAreTakenAsByTheDefinition) {
  std::string text;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(crc32(bytes_of(text)), crc32_by_bits(text)) << "length " << text.size();
    text += static_cast<char>(i * 37 + 200);
  }
}

TEST(Crc32Test, PartsAfterOneAnotherGiveThatOfTheWhole) {
  const std::string text = "a text that is long enough for several steps of the quick loop";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    const uint32_t first = crc32(bytes_of(text.substr(0, cut)));
    EXPECT_EQ(crc32(bytes_of(text.substr(cut)), first), crc32(bytes_of(text)));
  }
}

}  // namespace
}  // namespace dsv3
