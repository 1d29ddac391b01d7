// What kind of character one is, as Python's methods of strings tell: by its category and, for what
// categories do not tell, by tables of Unicode 16.0.

#include <algorithm>
#include <iterator>

#include "text/jinja/text.h"
#include "text/unicode.h"

namespace dsv3::jinja {
namespace {

// Other_Uppercase: Roman numerals and letters in circles and squares.
constexpr CodeRange kOtherUpper[] = {
    {0x2160, 0x216F}, {0x24B6, 0x24CF}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};

// Other_Lowercase: ordinals, modifier letters, Roman numerals, letters in circles.
constexpr CodeRange kOtherLower[] = {
    {0xAA, 0xAA},       {0xBA, 0xBA},       {0x2B0, 0x2B8},     {0x2C0, 0x2C1},
    {0x2E0, 0x2E4},     {0x345, 0x345},     {0x37A, 0x37A},     {0x10FC, 0x10FC},
    {0x1D2C, 0x1D6A},   {0x1D78, 0x1D78},   {0x1D9B, 0x1DBF},   {0x2071, 0x2071},
    {0x207F, 0x207F},   {0x2090, 0x209C},   {0x2170, 0x217F},   {0x24D0, 0x24E9},
    {0x2C7C, 0x2C7D},   {0xA69C, 0xA69D},   {0xA770, 0xA770},   {0xA7F2, 0xA7F4},
    {0xA7F8, 0xA7F9},   {0xAB5C, 0xAB5F},   {0xAB69, 0xAB69},   {0x10780, 0x10780},
    {0x10783, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA}, {0x1E030, 0x1E06D}};

// Digits that are no decimal ones: superscripts, in circles, of scripts without a zero.
constexpr CodeRange kOtherDigit[] = {
    {0xB2, 0xB3},       {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},
    {0x2070, 0x2070},   {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},
    {0x2474, 0x247C},   {0x2488, 0x2490},   {0x24EA, 0x24EA},   {0x24F5, 0x24FD},
    {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},   {0x278A, 0x2792},
    {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}};

// Chinese characters that stand for numbers.
constexpr char32_t kChineseNumbers[] = {
    0x3405,  0x3483,  0x382A,  0x3B4D,  0x4E00,  0x4E03,  0x4E07,  0x4E09,  0x4E24,  0x4E5D,
    0x4E8C,  0x4E94,  0x4E96,  0x4EAC,  0x4EBF,  0x4EC0,  0x4EDF,  0x4EE8,  0x4F0D,  0x4F70,
    0x4FE9,  0x5006,  0x5104,  0x5146,  0x5169,  0x516B,  0x516D,  0x5341,  0x5343,  0x5344,
    0x5345,  0x534C,  0x53C1,  0x53C2,  0x53C3,  0x53C4,  0x56DB,  0x58F1,  0x58F9,  0x5E7A,
    0x5EFE,  0x5EFF,  0x5F0C,  0x5F0D,  0x5F0E,  0x5F10,  0x62D0,  0x62FE,  0x634C,  0x67D2,
    0x6D1E,  0x6F06,  0x7396,  0x767E,  0x7695,  0x79ED,  0x8086,  0x842C,  0x8CAE,  0x8CB3,
    0x8D30,  0x920E,  0x94A9,  0x9621,  0x9646,  0x964C,  0x9678,  0x96F6,  0xF96B,  0xF973,
    0xF978,  0xF9B2,  0xF9D1,  0xF9D3,  0xF9FD,  0x20001, 0x20064, 0x200E2, 0x20121, 0x2092A,
    0x20983, 0x2098C, 0x2099C, 0x20AEA, 0x20AFD, 0x20B19, 0x22390, 0x22998, 0x23B1B, 0x2626D,
    0x2F890};

// Letters that cannot begin a name, or be in one: their compatibility forms have other characters.
constexpr CodeRange kNotInNames[] = {{0x37A, 0x37A},   {0x2E2F, 0x2E2F}, {0xFC5E, 0xFC63},
                                     {0xFDFA, 0xFDFB}, {0xFE70, 0xFE70}, {0xFE72, 0xFE72},
                                     {0xFE74, 0xFE74}, {0xFE76, 0xFE76}, {0xFE78, 0xFE78},
                                     {0xFE7A, 0xFE7A}, {0xFE7C, 0xFE7C}, {0xFE7E, 0xFE7E}};
constexpr CodeRange kNotFirstInNames[] = {{0xE33, 0xE33}, {0xEB3, 0xEB3}, {0xFF9E, 0xFF9F}};
// And what can though it is no letter.
constexpr CodeRange kOtherFirstInNames[] = {{0x1885, 0x1886}, {0x2118, 0x2118}, {0x212E, 0x212E}};
constexpr CodeRange kOtherInNames[] = {{0xB7, 0xB7},     {0x387, 0x387},   {0x1369, 0x1371},
                                       {0x19DA, 0x19DA}, {0x200C, 0x200D}, {0x2118, 0x2118},
                                       {0x212E, 0x212E}, {0x30FB, 0x30FB}, {0xFF65, 0xFF65}};

bool has_category(char32_t c, CategoryMask mask) { return (category_bit(c) & mask) != 0; }

template <size_t N>
bool in_ranges(char32_t c, const CodeRange (&ranges)[N]) {
  const auto* range =
      std::lower_bound(std::begin(ranges), std::end(ranges), c,
                       [](const CodeRange& r, char32_t wanted) { return r.last < wanted; });
  return range != std::end(ranges) && range->first <= c;
}

}  // namespace

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}
bool is_printable(char32_t c) {
  constexpr CategoryMask kHidden =
      category_mask(Category::kCc, Category::kCcSpace, Category::kCf, Category::kCs, Category::kCo,
                    Category::kCn, Category::kZl, Category::kZp, Category::kZs);
  return c == ' ' || !has_category(c, kHidden);
}
bool is_letter(char32_t c) { return has_category(c, kLetter); }
bool is_decimal(char32_t c) { return has_category(c, category_mask(Category::kNd)); }
bool is_digit(char32_t c) { return is_decimal(c) || in_ranges(c, kOtherDigit); }
bool is_numeric(char32_t c) {
  return has_category(c, kNumber) ||
         std::binary_search(std::begin(kChineseNumbers), std::end(kChineseNumbers), c);
}
bool is_upper(char32_t c) {
  return has_category(c, category_mask(Category::kLu)) || in_ranges(c, kOtherUpper);
}
bool is_lower(char32_t c) {
  return has_category(c, category_mask(Category::kLl)) || in_ranges(c, kOtherLower);
}
bool is_title(char32_t c) { return has_category(c, category_mask(Category::kLt)); }
bool is_identifier_start(char32_t c) {
  if (in_ranges(c, kNotInNames) || in_ranges(c, kNotFirstInNames)) return false;
  return c == '_' || has_category(c, kLetter | category_mask(Category::kNl)) ||
         in_ranges(c, kOtherFirstInNames);
}
bool is_identifier_part(char32_t c) {
  constexpr CategoryMask kParts =
      kLetter |
      category_mask(Category::kNl, Category::kMn, Category::kMc, Category::kNd, Category::kPc);
  return (has_category(c, kParts) || in_ranges(c, kOtherInNames)) && !in_ranges(c, kNotInNames);
}
bool is_cased(char32_t c) { return is_upper(c) || is_lower(c) || is_title(c); }
bool is_case_ignorable(char32_t c) {
  constexpr CategoryMask kIgnorable =
      category_mask(Category::kMn, Category::kMe, Category::kCf, Category::kSk, Category::kLm);
  static constexpr char32_t kMiddle[] = {0x27,   0x2E,   0x3A,   0xB7,   0x387,  0x55F,
                                         0x5F4,  0x2018, 0x2019, 0x2024, 0x2027, 0xFE13,
                                         0xFE52, 0xFE55, 0xFF07, 0xFF0E, 0xFF1A};
  return has_category(c, kIgnorable) ||
         std::binary_search(std::begin(kMiddle), std::end(kMiddle), c);
}
bool is_word(char32_t c) { return c == '_' || has_category(c, kLetter | kNumber); }

}  // namespace dsv3::jinja
