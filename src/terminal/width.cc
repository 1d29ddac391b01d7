#include "terminal/width.h"

#include <algorithm>
#include <iterator>

#include "text/unicode.h"
#include "text/utf8.h"

namespace dsv3::terminal {
namespace {

/// East Asian wide and full-width characters, and those shown as emoji; small gaps are closed.
constexpr CodeRange kWide[] = {
    {0x1100, 0x115F},   {0x231A, 0x231B},   {0x2329, 0x232A},   {0x23E9, 0x23EC},
    {0x23F0, 0x23F0},   {0x23F3, 0x23F3},   {0x25FD, 0x25FE},   {0x2614, 0x2615},
    {0x2648, 0x2653},   {0x267F, 0x267F},   {0x2693, 0x2693},   {0x26A1, 0x26A1},
    {0x26AA, 0x26AB},   {0x26BD, 0x26BE},   {0x26C4, 0x26C5},   {0x26CE, 0x26CE},
    {0x26D4, 0x26D4},   {0x26EA, 0x26EA},   {0x26F2, 0x26F3},   {0x26F5, 0x26F5},
    {0x26FA, 0x26FA},   {0x26FD, 0x26FD},   {0x2705, 0x2705},   {0x270A, 0x270B},
    {0x2728, 0x2728},   {0x274C, 0x274C},   {0x274E, 0x274E},   {0x2753, 0x2755},
    {0x2757, 0x2757},   {0x2795, 0x2797},   {0x27B0, 0x27B0},   {0x27BF, 0x27BF},
    {0x2B1B, 0x2B1C},   {0x2B50, 0x2B50},   {0x2B55, 0x2B55},   {0x2E80, 0x303E},
    {0x3041, 0x3247},   {0x3250, 0x4DBF},   {0x4E00, 0xA4CF},   {0xA960, 0xA97F},
    {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},   {0xFE10, 0xFE1F},   {0xFE30, 0xFE6F},
    {0xFF01, 0xFF60},   {0xFFE0, 0xFFE6},   {0x16FE0, 0x18DFF}, {0x1AFF0, 0x1B2FF},
    {0x1F004, 0x1F004}, {0x1F0CF, 0x1F0CF}, {0x1F18E, 0x1F18E}, {0x1F191, 0x1F19A},
    {0x1F200, 0x1F320}, {0x1F32D, 0x1F335}, {0x1F337, 0x1F37C}, {0x1F37E, 0x1F393},
    {0x1F3A0, 0x1F3CA}, {0x1F3CF, 0x1F3D3}, {0x1F3E0, 0x1F3F0}, {0x1F3F4, 0x1F3F4},
    {0x1F3F8, 0x1F43E}, {0x1F440, 0x1F440}, {0x1F442, 0x1F4FC}, {0x1F4FF, 0x1F53D},
    {0x1F54B, 0x1F54E}, {0x1F550, 0x1F567}, {0x1F57A, 0x1F57A}, {0x1F595, 0x1F596},
    {0x1F5A4, 0x1F5A4}, {0x1F5FB, 0x1F64F}, {0x1F680, 0x1F6C5}, {0x1F6CC, 0x1F6CC},
    {0x1F6D0, 0x1F6D2}, {0x1F6D5, 0x1F6D7}, {0x1F6DC, 0x1F6DF}, {0x1F6EB, 0x1F6EC},
    {0x1F6F4, 0x1F6FC}, {0x1F7E0, 0x1F7EB}, {0x1F7F0, 0x1F7F0}, {0x1F90C, 0x1F93A},
    {0x1F93C, 0x1F945}, {0x1F947, 0x1F9FF}, {0x1FA70, 0x1FAFF}, {0x20000, 0x2FFFD},
    {0x30000, 0x3FFFD},
};

constexpr char32_t kJoiner = 0x200D, kSoftHyphen = 0xAD;
constexpr CodeRange kJamoInside = {0x1160, 0x11FF};  // vowels and finals join the syllable before
constexpr CodeRange kSkinTones = {0x1F3FB, 0x1F3FF};
constexpr CodeRange kFlagLetters = {0x1F1E6, 0x1F1FF};

bool in(char32_t c, const CodeRange& range) { return c >= range.first && c <= range.last; }

bool goes_with_last(char32_t c) {
  constexpr CategoryMask kNone = kMark | category_mask(Category::kCf);
  return in(c, kJamoInside) || (c != kSoftHyphen && c >= 0x300 && (category_bit(c) & kNone) != 0);
}

}  // namespace

int character_width(char32_t c) {
  if (c >= 0x20 && c < 0x7F) return 1;
  if (c == U'\t') return kTabWidth;
  if (goes_with_last(c)) return 0;
  const auto* range = std::upper_bound(std::begin(kWide), std::end(kWide), c,
                                       [](char32_t x, const CodeRange& r) { return x <= r.last; });
  return range != std::end(kWide) && in(c, *range) ? 2 : 1;
}

size_t cluster_end(std::string_view text, size_t begin) {
  const auto length = [&](size_t at) { return utf8_length(static_cast<uint8_t>(text[at])); };
  char32_t last = utf8_decode(&text[begin]);
  size_t end = begin + length(begin);
  bool flag_open = in(last, kFlagLetters);
  while (end < text.size()) {
    const char32_t next = utf8_decode(&text[end]);
    const bool second_letter = flag_open && in(next, kFlagLetters);
    if (!goes_with_last(next) && !in(next, kSkinTones) && last != kJoiner && !second_letter) break;
    flag_open = flag_open && !second_letter;
    last = next;
    end += length(end);
  }
  return end;
}

size_t cluster_begin(std::string_view text, size_t end) {
  // Clusters are found from the left only; a line break is always between two.
  size_t at = text.rfind('\n', end - 1);
  at = at == std::string_view::npos ? 0 : at == end - 1 ? at : at + 1;
  while (true) {
    const size_t next = cluster_end(text, at);
    if (next >= end) return at;
    at = next;
  }
}

int text_width(std::string_view text) {
  int width = 0;
  for (size_t i = 0; i < text.size(); i += utf8_length(static_cast<uint8_t>(text[i]))) {
    width += character_width(utf8_decode(&text[i]));
  }
  return width;
}

}  // namespace dsv3::terminal
