#include "text/char_set.h"

#include <algorithm>
#include <map>

namespace dsv3 {

constexpr char32_t kLast = 0x10FFFF;

void CharSet::add(char32_t first, char32_t last) {
  ranges_.push_back({first, last});
  normalise();
}

void CharSet::add(std::span<const CodeRange> ranges) {
  ranges_.insert(ranges_.end(), ranges.begin(), ranges.end());
  normalise();
}

void CharSet::add_categories(CategoryMask categories) {
  char32_t first = 0;
  for (const uint32_t run : category_runs()) {
    const char32_t end = first + (run >> 5);
    if (categories >> (run & 31) & 1) ranges_.push_back({first, end - 1});
    first = end;
  }
  normalise();
}

void CharSet::negate() {
  std::vector<CodeRange> gaps;
  char32_t next = 0;
  for (const CodeRange& range : ranges_) {
    if (next < range.first) gaps.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLast) gaps.push_back({next, kLast});
  ranges_ = std::move(gaps);
}

void CharSet::intersect(CharSet other) {
  negate();
  other.negate();
  add(other);
  negate();
}

void CharSet::normalise() {
  std::sort(ranges_.begin(), ranges_.end(),
            [](const CodeRange& a, const CodeRange& b) { return a.first < b.first; });
  size_t kept = 0;
  for (const CodeRange& range : ranges_) {
    if (kept > 0 && range.first <= ranges_[kept - 1].last + 1) {
      ranges_[kept - 1].last = std::max(ranges_[kept - 1].last, range.last);
    } else {
      ranges_[kept++] = range;
    }
  }
  ranges_.resize(kept);
}

CharTable::CharTable(const CharSet& set) {
  // Only the first and the last page of a range need bits of their own; between them all are full.
  std::map<uint32_t, Page> partial;
  std::map<Page, uint16_t> known;
  std::array<bool, 0x1100> full = {};
  for (const CodeRange& range : set.ranges()) {
    for (uint32_t page = range.first >> 8; page <= range.last >> 8; ++page) {
      const char32_t first = std::max<char32_t>(range.first, page << 8);
      const char32_t last = std::min<char32_t>(range.last, page << 8 | 0xFF);
      if (last - first == 0xFF) {
        full[page] = true;
        continue;
      }
      Page& bits = partial[page];
      for (char32_t c = first; c <= last; ++c) bits[c >> 6 & 3] |= uint64_t{1} << (c & 63);
    }
  }
  for (uint32_t page = 0; page < page_of_.size(); ++page) {
    Page bits = {};
    if (full[page]) bits.fill(~uint64_t{0});
    else if (const auto found = partial.find(page); found != partial.end()) bits = found->second;
    const auto [place, is_new] = known.emplace(bits, static_cast<uint16_t>(pages_.size()));
    if (is_new) pages_.push_back(bits);
    page_of_[page] = place->second;
  }
  ascii_ = {pages_[0][0], pages_[0][1]};

  char32_t begin = 0;
  auto range = set.ranges().begin();
  for (const uint32_t run : category_runs()) {
    const char32_t end = begin + (run >> 5);
    while (range != set.ranges().end() && range->last < std::max(begin, char32_t{0x80})) ++range;
    if (range == set.ranges().end()) break;
    if (range->first < end && end > 0x80) wide_categories_ |= CategoryMask{1} << (run & 31);
    begin = end;
  }
}

}  // namespace dsv3
