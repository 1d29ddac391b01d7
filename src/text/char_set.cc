#include "text/char_set.h"

#include <algorithm>

namespace dsv3 {

void CharSet::add(char32_t first, char32_t last) {
  for (char32_t c = first; c <= last && c < 0x80; ++c) ascii_[c >> 6] |= uint64_t{1} << (c & 63);
  if (last >= 0x80) ranges_.push_back({std::max(first, char32_t{0x80}), last});
}

void CharSet::add_categories(CategoryMask categories) {
  for (char32_t c = 0; c < 0x80; ++c) {
    if (category_bit(c) & categories) add(c);
  }
  categories_ |= categories;
}

void CharSet::negate() {
  for (uint64_t& word : ascii_) word = ~word;
  negated_ = !negated_;
}

CategoryMask CharSet::wide_categories() const {
  if (negated_) return ranges_.empty() ? kAllCategories & ~categories_ : kAllCategories;
  return ranges_.empty() ? categories_ : kAllCategories;
}

}  // namespace dsv3
