#include "text/unicode.h"

#include <algorithm>
#include <array>
#include <vector>

namespace dsv3 {
namespace {

constexpr uint32_t kRuns[] = {
#include "text/unicode_table.inc"
};

constexpr std::array<std::string_view, kCategories> kNames = {
    "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe",
    "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cc", "Cf", "Cs", "Co"};

std::vector<uint8_t> expand_runs() {
  std::vector<uint8_t> table(0x110000);
  auto out = table.begin();
  for (const uint32_t run : kRuns) out = std::fill_n(out, run >> 5, run & 31);
  return table;
}

}  // namespace

const uint8_t* make_category_table() {
  static const std::vector<uint8_t> table = expand_runs();
  return table.data();
}

std::span<const uint32_t> category_runs() { return kRuns; }

std::optional<CategoryMask> categories_of(std::string_view name) {
  if (name.empty() || name.size() > 2) return std::nullopt;
  CategoryMask mask = 0;
  for (int i = 0; i < kCategories; ++i) {
    if (kNames[i].starts_with(name)) mask |= CategoryMask{1} << i;
  }
  return mask ? std::optional(mask) : std::nullopt;
}

bool is_word_character(char32_t c) {
  if (category_bit(c) & kWord) return true;
  for (const auto& [first, last] : kOtherWord) {
    if (c >= first && c <= last) return true;
  }
  return c == 0x200C || c == 0x200D;
}

}  // namespace dsv3
