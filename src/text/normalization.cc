#include "text/normalization.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>
#include <vector>

#include "text/unicode.h"
#include "text/utf8.h"

namespace dsv3 {
namespace {

struct Decomposition {
  uint32_t code, begin, length;
};
struct CombiningRange {
  uint32_t first, last, value;
};
struct Composition {
  uint32_t first, second, composed;
};
struct LowerRange {
  uint32_t first, last, step;
  int32_t distance;
};
struct Script {
  std::string_view name;
  std::span<const CodeRange> ranges;
};

#include "text/normalization_table.inc"

/// The Hangul syllables are composed by rule: leading consonant, vowel, perhaps a trailing one.
constexpr char32_t kSyllable = 0xAC00, kLeading = 0x1100, kVowel = 0x1161, kTrailing = 0x11A7;
constexpr char32_t kLeadings = 19, kVowels = 21, kTrailings = 28;
constexpr char32_t kSyllables = kLeadings * kVowels * kTrailings;

/// The last entry of a sorted table whose `key` is at most `code`, or nullptr.
template <typename Entry, size_t n>
const Entry* last_up_to(const Entry (&table)[n], uint32_t Entry::* key, char32_t code) {
  const Entry* const after = std::upper_bound(
      std::begin(table), std::end(table), code,
      [key](char32_t c, const Entry& entry) { return c < entry.*key; });
  return after == table ? nullptr : after - 1;
}

uint8_t combining_class(char32_t c) {
  if (c < 0x300) return 0;
  const CombiningRange* range = last_up_to(kCombining, &CombiningRange::first, c);
  return range && c <= range->last ? static_cast<uint8_t>(range->value) : 0;
}

template <size_t n, size_t m>
bool append_entry(const Decomposition (&table)[n], const char32_t (&texts)[m], char32_t c,
                  std::u32string& out) {
  const Decomposition* entry = last_up_to(table, &Decomposition::code, c);
  if (!entry || entry->code != c) return false;
  out.append(texts + entry->begin, entry->length);
  return true;
}

void append_decomposed(char32_t c, bool compatible, std::u32string& out) {
  if (c < 0xA0) {
    out += c;
  } else if (c - kSyllable < kSyllables) {
    const char32_t index = c - kSyllable;
    out += kLeading + index / (kVowels * kTrailings);
    out += kVowel + index / kTrailings % kVowels;
    if (index % kTrailings) out += kTrailing + index % kTrailings;
  } else if (!(compatible && append_entry(kCompatible, kCompatibleTexts, c, out)) &&
             !append_entry(kCanonical, kCanonicalTexts, c, out)) {
    out += c;
  }
}

/// Sorts each row of marks by their class; equal ones keep their order.
void order_marks(std::u32string& text) {
  for (size_t i = 0; i < text.size();) {
    if (combining_class(text[i]) == 0) {
      ++i;
      continue;
    }
    size_t end = i + 1;
    while (end < text.size() && combining_class(text[end]) != 0) ++end;
    std::stable_sort(text.begin() + i, text.begin() + end, [](char32_t a, char32_t b) {
      return combining_class(a) < combining_class(b);
    });
    i = end;
  }
}

std::optional<char32_t> compose(char32_t first, char32_t second) {
  if (first - kLeading < kLeadings && second - kVowel < kVowels) {
    return kSyllable + ((first - kLeading) * kVowels + (second - kVowel)) * kTrailings;
  }
  if (first - kSyllable < kSyllables && (first - kSyllable) % kTrailings == 0 &&
      second - kTrailing - 1 < kTrailings - 1) {
    return first + (second - kTrailing);
  }
  const auto pair = std::pair(first, second);
  const auto entry = std::lower_bound(
      std::begin(kCompositions), std::end(kCompositions), pair,
      [](const Composition& e, const auto& p) {
        return std::pair<char32_t, char32_t>(e.first, e.second) < p;
      });
  if (entry == std::end(kCompositions) || entry->first != first || entry->second != second) {
    return std::nullopt;
  }
  return entry->composed;
}

/// Joins each starter with the later marks that no mark of the same or a higher class parts from
/// it.
void compose_all(std::u32string& text) {
  constexpr size_t kNone = static_cast<size_t>(-1);
  size_t starter = kNone, kept = 0;
  uint8_t last_class = 0;  // of what is kept after the starter; 0: nothing is
  for (size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    const uint8_t own_class = combining_class(c);
    const bool next_to = starter != kNone && kept == starter + 1;
    if (starter != kNone && (next_to || (last_class != 0 && last_class < own_class))) {
      if (const auto composed = compose(text[starter], c)) {
        text[starter] = *composed;
        continue;
      }
    }
    if (own_class == 0) starter = kept;
    last_class = own_class;
    text[kept++] = c;
  }
  text.resize(kept);
}

template <typename F>
void for_each_character(std::string_view text, F&& f) {
  for (size_t i = 0; i < text.size(); i += utf8_length(static_cast<uint8_t>(text[i]))) {
    f(utf8_decode(text.data() + i));
  }
}

bool is_ascii(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return c & 0x80; });
}

}  // namespace

std::string normalize(std::string_view text, NormalForm form) {
  if (is_ascii(text)) return std::string(text);
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  std::u32string characters;
  characters.reserve(text.size());
  for_each_character(text, [&](char32_t c) { append_decomposed(c, compatible, characters); });
  order_marks(characters);
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) compose_all(characters);
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : characters) append_utf8(out, c);
  return out;
}

std::string to_lower_case(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each_character(text, [&](char32_t c) {
    const LowerRange* range = last_up_to(kLower, &LowerRange::first, c);
    if (c == 0x130) out += "i\u0307";
    else if (range && c <= range->last && (c - range->first) % range->step == 0) {
      append_utf8(out, c + range->distance);
    } else {
      append_utf8(out, c);
    }
  });
  return out;
}

std::string without_accents(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for_each_character(text, [&](char32_t c) {
    const auto after = std::upper_bound(
        std::begin(kAccents), std::end(kAccents), c,
        [](char32_t code, const CodeRange& range) { return code < range.first; });
    if (after == std::begin(kAccents) || c > after[-1].last) append_utf8(out, c);
  });
  return out;
}

std::optional<std::span<const CodeRange>> script_ranges(std::string_view name) {
  for (const Script& script : kScripts) {
    if (script.name == name) return script.ranges;
  }
  return std::nullopt;
}

}  // namespace dsv3
