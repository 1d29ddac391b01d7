#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace dsv3 {

/// General categories of Unicode 16.0 (the version inside Hugging Face tokenizers 0.23). Control
/// characters that are white space are set apart, so that \s is a union of categories too.
enum class Category : uint8_t {
  kCn, kLu, kLl, kLt, kLm, kLo, kMn, kMc, kMe, kNd, kNl, kNo, kPc, kPd, kPs, kPe,
  kPi, kPf, kPo, kSm, kSc, kSk, kSo, kZs, kZl, kZp, kCc, kCcSpace, kCf, kCs, kCo,
};
constexpr int kCategories = 31;

/// One bit for each category.
using CategoryMask = uint32_t;
constexpr CategoryMask kAllCategories = (CategoryMask{1} << kCategories) - 1;

template <typename... C>
constexpr CategoryMask category_mask(C... c) {
  return ((CategoryMask{1} << static_cast<int>(c)) | ...);
}

constexpr CategoryMask kLetter = category_mask(Category::kLu, Category::kLl, Category::kLt,
                                               Category::kLm, Category::kLo);
constexpr CategoryMask kMark = category_mask(Category::kMn, Category::kMc, Category::kMe);
constexpr CategoryMask kNumber = category_mask(Category::kNd, Category::kNl, Category::kNo);
constexpr CategoryMask kPunctuation =
    category_mask(Category::kPc, Category::kPd, Category::kPs, Category::kPe, Category::kPi,
                  Category::kPf, Category::kPo);
constexpr CategoryMask kSymbol =
    category_mask(Category::kSm, Category::kSc, Category::kSk, Category::kSo);
constexpr CategoryMask kWhiteSpace =
    category_mask(Category::kZs, Category::kZl, Category::kZp, Category::kCcSpace);

/// The code points from `first` to `last`.
struct CodeRange {
  char32_t first, last;
};

/// Word characters: these categories, and circled and squared letters, which are alphabetic though
/// their category is So.
constexpr CategoryMask kWord =
    kLetter | kMark | category_mask(Category::kNd, Category::kNl, Category::kPc);
constexpr CodeRange kOtherWord[] = {
    {0x24B6, 0x24E9}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};

/// One byte for each code point below 0x110000, made at the first call.
const uint8_t* make_category_table();

inline uint8_t category_index(char32_t code_point) {
  static const uint8_t* const table = make_category_table();
  return table[code_point];
}

inline CategoryMask category_bit(char32_t code_point) {
  return CategoryMask{1} << category_index(code_point);
}

/// Runs of code points of one category, from U+0000 on: length * 32 + category.
std::span<const uint32_t> category_runs();

/// The categories of \p{name}: "L", "Lu", "N", ...; nullopt for a name that is no category.
std::optional<CategoryMask> categories_of(std::string_view name);

/// The code points of a script, as \p{Han} names it; nullopt for a name that is not in the table.
std::optional<std::span<const CodeRange>> script_ranges(std::string_view name);

/// \w of Rust's regex crate: the word characters and the two joiners U+200C and U+200D.
bool is_word_character(char32_t code_point);

}  // namespace dsv3
