#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace dsv3 {

constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

/// What stands at the front of a byte string.
struct Utf8Step {
  enum Kind : uint8_t {
    kCharacter,   ///< `length` bytes are one character
    kInvalid,     ///< `length` bytes are a maximal invalid part: one U+FFFD
    kIncomplete,  ///< all `length` bytes left may still become a character
  };
  Kind kind;
  uint8_t length;
};

/// Looks at the front of `bytes` (not empty). Well-formed is what table 3-7 of the Unicode standard
/// says: no overlong forms, no surrogates, nothing above U+10FFFF.
Utf8Step utf8_step(std::string_view bytes);

bool is_valid_utf8(std::string_view bytes);

/// Valid UTF-8: one U+FFFD for each maximal invalid part, as Rust's from_utf8_lossy.
std::string utf8_lossy(std::string_view bytes);

void append_utf8(std::string& out, char32_t code_point);

/// Bytes of the character that starts with `lead`, which must be the first byte of valid UTF-8.
inline size_t utf8_length(uint8_t lead) {
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/// The character at `p` in valid UTF-8.
inline char32_t utf8_decode(const char* p) {
  const auto byte = [p](int i) { return static_cast<uint8_t>(p[i]); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return lead;
  if (lead < 0xE0) return (lead & 0x1F) << 6 | (byte(1) & 0x3F);
  if (lead < 0xF0) return (lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  return (lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
}

/// The start of the character that ends at `p`, in valid UTF-8 that does not begin at `p`.
inline const char* utf8_previous(const char* p) {
  do --p;
  while ((static_cast<uint8_t>(*p) & 0xC0) == 0x80);
  return p;
}

}  // namespace dsv3
