#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/utf8.h"

namespace dsv3 {

/// The pre-tokenizer of DeepSeek-V3 written out by hand: three patterns after one another (digits
/// by threes, Chinese and Japanese, the rest), each on the pieces of the one before. One pass over
/// the text gives what the regular expressions give, many times faster.
class DeepseekScanner {
 public:
  /// The three patterns.
  static std::span<const std::string_view> patterns();
  /// Whether `pre_tokenizer` of a tokenizer.json is exactly that.
  static bool recognises(const Json& pre_tokenizer);

  DeepseekScanner();

  /// Gives the pieces of `text` (valid UTF-8) in order to `f(std::string_view)`.
  template <typename F>
  void split(std::string_view text, F&& f) const;

 private:
  /// What the patterns tell apart.
  enum Class : uint8_t { kEnd, kWord, kSign, kBlank, kSpace, kNewline, kOther, kDigit };
  static constexpr uint8_t kCjk = 0x80;  // a flag beside the class: the second pattern takes it

  uint8_t class_at(const char* p) const {
    const auto lead = static_cast<uint8_t>(*p);
    if (lead < 0x80) return pages_[lead];
    const char32_t c = utf8_decode(p);
    return pages_[page_of_[c >> 8] + (c & 0xFF)];
  }
  /// The class at `p`; kEnd where a piece of the patterns before ends: at another `cjk`, at a
  /// digit.
  uint8_t class_within(const char* p, const char* end, uint8_t cjk) const {
    if (p == end) return kEnd;
    const uint8_t found = class_at(p) ^ cjk;
    return found >= kDigit ? static_cast<uint8_t>(kEnd) : found;
  }
  static const char* next(const char* p) { return p + utf8_length(static_cast<uint8_t>(*p)); }
  const char* skip(const char* p, const char* end, uint8_t cjk, Class wanted) const {
    while (class_within(p, end, cjk) == wanted) p = next(p);
    return p;
  }
  /// The end of the match of the third pattern at `p`, whose class is `own`; nullptr: none.
  const char* match(const char* p, const char* end, uint8_t cjk, uint8_t own) const;
  const char* match_space(const char* p, const char* end) const;

  std::vector<uint8_t> pages_;  // the first one is that of U+0000
  std::array<uint32_t, 0x1100> page_of_;
};

inline const char* DeepseekScanner::match_space(const char* p, const char* end) const {
  const char* last = p;                  // the last white space
  const char* after_newline = nullptr;
  const char* at = p;
  uint8_t found;
  for (; (found = class_within(at, end, 0)) == kBlank || found == kSpace || found == kNewline;) {
    last = at;
    at = next(at);
    if (found == kNewline) after_newline = at;
  }
  if (after_newline) return after_newline;
  // The last one is left for the word that follows.
  return found == kEnd || last == p ? at : last;
}

inline const char* DeepseekScanner::match(const char* p, const char* end, uint8_t cjk,
                                          uint8_t own) const {
  const char* const second = next(p);
  switch (own) {
    case kWord: return skip(second, end, cjk, kWord);
    case kSign: {
      const auto is_letter = [&](const char* q) {
        return q != end && static_cast<uint8_t>((*q | 0x20) - 'a') < 26;
      };
      if (static_cast<uint8_t>(*p) < 0x80 && is_letter(second)) {
        const char* at = second + 1;
        while (is_letter(at)) ++at;
        return at;
      }
      return skip(skip(second, end, cjk, kSign), end, cjk, kNewline);
    }
    case kNewline: return match_space(p, end);
    default: break;
  }
  const uint8_t following = class_within(second, end, cjk);
  if (following == kWord) return skip(next(second), end, cjk, kWord);
  if (own == kOther) return nullptr;
  if (own == kBlank && following == kSign) {
    return skip(skip(next(second), end, cjk, kSign), end, cjk, kNewline);
  }
  return match_space(p, end);
}

template <typename F>
void DeepseekScanner::split(std::string_view text, F&& f) const {
  const char* p = text.data();
  const char* const end = p + text.size();
  const auto give = [&](const char* from, const char* to) {
    f(std::string_view(from, static_cast<size_t>(to - from)));
  };
  while (p != end) {
    const uint8_t found = class_at(p);
    if (found == kDigit) {
      const char* at = next(p);
      for (int i = 1; i < 3 && at != end && class_at(at) == kDigit; ++i) at = next(at);
      give(p, at);
      p = at;
      continue;
    }
    const uint8_t cjk = found & kCjk;
    uint8_t own = found ^ cjk;
    // What nothing matches is one piece up to the next match.
    const char* gap = p;
    const char* matched = nullptr;
    for (; own != kEnd; p = next(p), own = class_within(p, end, cjk)) {
      if ((matched = match(p, end, cjk, own)) != nullptr) break;
    }
    if (gap != p) give(gap, p);
    if (!matched) continue;
    give(p, matched);
    p = matched;
  }
}

}  // namespace dsv3
