#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/unicode.h"
#include "text/utf8.h"

namespace dsv3 {

/// A set of code points that can be put together with others; CharTable answers questions fast.
class CharSet {
 public:
  void add(char32_t first, char32_t last);
  void add(char32_t code_point) { add(code_point, code_point); }
  void add(std::span<const CodeRange> ranges);
  void add(const CharSet& other) { add(std::span<const CodeRange>(other.ranges_)); }
  void add_categories(CategoryMask categories);
  /// Turns the set into its complement.
  void negate();
  void intersect(CharSet other);

  /// Sorted, with gaps between them.
  const std::vector<CodeRange>& ranges() const { return ranges_; }

 private:
  void normalise();

  std::vector<CodeRange> ranges_;
};

/// A set of code points to look characters up in: pages of 256 bits, equal ones kept once.
class CharTable {
 public:
  explicit CharTable(const CharSet& set);

  bool contains_ascii(uint8_t c) const { return ascii_[c >> 6] >> (c & 63) & 1; }
  bool contains(char32_t c) const {
    return pages_[page_of_[c >> 8]][c >> 6 & 3] >> (c & 63) & 1;
  }

  /// Bytes of the character at `p` (valid UTF-8 up to `end`) if it is in the set, else 0.
  size_t match(const char* p, const char* end) const {
    if (p == end) return 0;
    const auto lead = static_cast<uint8_t>(*p);
    if (lead < 0x80) return contains_ascii(lead);
    return contains(utf8_decode(p)) ? utf8_length(lead) : 0;
  }

  /// Categories that some code point of the set above ASCII has.
  CategoryMask wide_categories() const { return wide_categories_; }

 private:
  using Page = std::array<uint64_t, 4>;

  std::array<uint64_t, 2> ascii_;  // the same as in the first page, but near
  std::vector<Page> pages_;  // the first one is that of U+0000
  std::array<uint16_t, 0x1100> page_of_;
  CategoryMask wide_categories_ = 0;
};

}  // namespace dsv3
