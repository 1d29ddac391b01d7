#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/unicode.h"
#include "text/utf8.h"

namespace dsv3 {

/// A set of code points: a bit for each ASCII character; above that, Unicode categories and ranges.
class CharSet {
 public:
  void add(char32_t first, char32_t last);
  void add(char32_t code_point) { add(code_point, code_point); }
  void add_categories(CategoryMask categories);
  /// Turns the set into its complement.
  void negate();

  bool contains_ascii(uint8_t c) const { return ascii_[c >> 6] >> (c & 63) & 1; }
  bool contains(char32_t code_point) const {
    return code_point < 0x80 ? contains_ascii(static_cast<uint8_t>(code_point))
                             : contains_wide(code_point);
  }

  /// Bytes of the character at `p` (valid UTF-8 up to `end`) if it is in the set, else 0.
  size_t match(const char* p, const char* end) const {
    if (p == end) return 0;
    const auto lead = static_cast<uint8_t>(*p);
    if (lead < 0x80) return contains_ascii(lead);
    return contains_wide(utf8_decode(p)) ? utf8_length(lead) : 0;
  }

  /// Categories that some code point of the set above ASCII may have.
  CategoryMask wide_categories() const;

 private:
  struct Range {
    char32_t first, last;
  };

  bool contains_wide(char32_t c) const {
    bool in = (category_bit(c) & categories_) != 0;
    for (size_t i = 0; i < ranges_.size() && !in; ++i) {
      in = c >= ranges_[i].first && c <= ranges_[i].last;
    }
    return in != negated_;
  }

  std::array<uint64_t, 2> ascii_ = {};
  // The code points above ASCII: those of the categories or ranges, or all others if negated.
  CategoryMask categories_ = 0;
  std::vector<Range> ranges_;
  bool negated_ = false;
};

}  // namespace dsv3
