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

bool between(char32_t c, char32_t first, char32_t last) { return c >= first && c <= last; }

}  // namespace

const uint8_t* make_category_table() {
  static const std::vector<uint8_t> table = expand_runs();
  return table.data();
}

std::optional<CategoryMask> categories_of(std::string_view name) {
  if (name.empty() || name.size() > 2) return std::nullopt;
  CategoryMask mask = 0;
  for (int i = 0; i < kCategories; ++i) {
    if (kNames[i].starts_with(name)) mask |= CategoryMask{1} << i;
  }
  return mask ? std::optional(mask) : std::nullopt;
}

bool is_word_character(char32_t c) {
  constexpr CategoryMask word =
      kLetter | kMark | category_mask(Category::kNd, Category::kNl, Category::kPc);
  if (category_bit(c) & word) return true;
  // Circled and squared letters are alphabetic though their category is So.
  return between(c, 0x24B6, 0x24E9) || between(c, 0x1F130, 0x1F149) ||
         between(c, 0x1F150, 0x1F169) || between(c, 0x1F170, 0x1F189) || c == 0x200C || c == 0x200D;
}

}  // namespace dsv3
