#include "text/byte_level.h"

#include "text/utf8.h"

namespace dsv3 {
namespace {

constexpr int kLetters = 0x144;  // one above the last letter, U+0143

struct Tables {
  std::array<char32_t, 256> letter;
  std::array<int16_t, kLetters> byte;  // of a letter, or -1

  Tables() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool prints = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
      letter[b] = prints ? b : next++;
      byte[letter[b]] = static_cast<int16_t>(b);
    }
  }
};

const Tables& tables() {
  static const Tables instance;
  return instance;
}

}  // namespace

char32_t byte_level_letter(uint8_t byte) { return tables().letter[byte]; }

std::optional<std::string> byte_level_bytes(std::string_view token) {
  const Tables& table = tables();
  std::string bytes;
  bytes.reserve(token.size());
  for (size_t i = 0; i < token.size(); i += utf8_length(static_cast<uint8_t>(token[i]))) {
    const char32_t c = utf8_decode(token.data() + i);
    if (c >= kLetters || table.byte[c] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(table.byte[c]));
  }
  return bytes;
}

}  // namespace dsv3
