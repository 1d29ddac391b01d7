// Upper, lower and title case as Python's methods of strings have them.

#include <algorithm>
#include <iterator>

#include "text/jinja/text.h"
#include "text/utf8.h"

namespace dsv3::jinja {
namespace {

struct CaseRange {
  char32_t first, last;
  uint32_t step;
  int32_t distance;
};
struct CaseSpecial {
  char32_t character;
  const char* mapped;
};

#include "text/jinja/case_table.inc"

template <size_t N, size_t M>
bool append_mapped(std::string& out, char32_t c, const CaseRange (&ranges)[N],
                   const CaseSpecial (&specials)[M]) {
  const auto special =
      std::lower_bound(std::begin(specials), std::end(specials), c,
                       [](const CaseSpecial& s, char32_t wanted) { return s.character < wanted; });
  if (special != std::end(specials) && special->character == c) {
    out += special->mapped;
    return true;
  }
  // Ranges of step 2 may interleave, so the one that has `c` may stand a few before the last start.
  auto range =
      std::upper_bound(std::begin(ranges), std::end(ranges), c,
                       [](char32_t wanted, const CaseRange& r) { return wanted < r.first; });
  for (int back = 0; back < 3 && range != std::begin(ranges); ++back) {
    --range;
    if (c <= range->last && (c - range->first) % range->step == 0) {
      append_utf8(out, static_cast<char32_t>(static_cast<int64_t>(c) + range->distance));
      return true;
    }
  }
  return false;
}

void append_upper(std::string& out, char32_t c) {
  if (!append_mapped(out, c, kUpperRanges, kUpperSpecials)) append_utf8(out, c);
}
void append_lower(std::string& out, char32_t c) {
  if (!append_mapped(out, c, kLowerRanges, kLowerSpecials)) append_utf8(out, c);
}

// Sigma has another form at the end of a word; `at` is where it stands in `s`.
bool is_final_sigma(std::string_view s, size_t at) {
  const char* p = s.data() + at;
  bool after_letter = false;
  while (p > s.data() && !after_letter) {
    p = utf8_previous(p);
    const char32_t c = utf8_decode(p);
    if (is_case_ignorable(c)) continue;
    if (!is_cased(c)) return false;
    after_letter = true;
  }
  if (!after_letter) return false;
  for (const std::string_view text : Characters(s.substr(at + 2))) {
    const char32_t c = utf8_decode(text.data());
    if (!is_case_ignorable(c)) return !is_cased(c);
  }
  return true;
}

// Goes through the characters of a text, with what is before and after them.
class CaseMapper {
 public:
  explicit CaseMapper(std::string_view s) : text_(s) { out_.reserve(s.size()); }

  /// `map` calls one of the functions below for each character.
  template <typename Map>
  std::string run(Map map) {
    for (; at_ < text_.size(); at_ += utf8_length(static_cast<uint8_t>(text_[at_]))) {
      map(utf8_decode(text_.data() + at_));
    }
    return std::move(out_);
  }

  void upper(char32_t c) { append_upper(out_, c); }
  void title(char32_t c) {
    if (!append_mapped(out_, c, kTitleRanges, kTitleSpecials)) append_upper(out_, c);
  }
  void lower(char32_t c) {
    constexpr char32_t kSigma = 0x3A3, kSmallFinalSigma = 0x3C2;
    if (c == kSigma && is_final_sigma(text_, at_))
      append_utf8(out_, kSmallFinalSigma);
    else
      append_lower(out_, c);
  }
  void same(char32_t c) { append_utf8(out_, c); }

 private:
  std::string_view text_;
  size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string to_upper(std::string_view s) {
  CaseMapper mapper(s);
  return mapper.run([&](char32_t c) { mapper.upper(c); });
}

std::string to_lower(std::string_view s) {
  CaseMapper mapper(s);
  return mapper.run([&](char32_t c) { mapper.lower(c); });
}

std::string to_title(std::string_view s) {
  CaseMapper mapper(s);
  bool inside = false;
  return mapper.run([&](char32_t c) {
    inside ? mapper.lower(c) : mapper.title(c);
    inside = is_cased(c);
  });
}

std::string capitalize(std::string_view s) {
  CaseMapper mapper(s);
  bool first = true;
  return mapper.run([&](char32_t c) {
    first ? mapper.title(c) : mapper.lower(c);
    first = false;
  });
}

std::string swap_case(std::string_view s) {
  CaseMapper mapper(s);
  return mapper.run([&](char32_t c) {
    if (is_upper(c))
      mapper.lower(c);
    else if (is_lower(c))
      mapper.upper(c);
    else
      mapper.same(c);
  });
}

// Case folding is the lower case of the upper case, but for dotless i, which stays, and for
// Cherokee, whose small letters are the newer ones.
std::string fold_case(std::string_view s) {
  std::string out;
  const auto each = [](std::string_view text, auto f) {
    for (const std::string_view c : Characters(text)) f(utf8_decode(c.data()));
  };
  for (const std::string_view text : Characters(s)) {
    const char32_t c = utf8_decode(text.data());
    const bool cherokee = (c >= 0x13A0 && c <= 0x13FD) || (c >= 0xAB70 && c <= 0xABBF);
    if (c == 0x131) {
      out += text;
    } else if (cherokee) {
      append_upper(out, c);
    } else {
      std::string lower, upper;
      append_lower(lower, c);
      each(lower, [&](char32_t l) { append_upper(upper, l); });
      each(upper, [&](char32_t u) { append_lower(out, u); });
    }
  }
  return out;
}

}  // namespace dsv3::jinja
