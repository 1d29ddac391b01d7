#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/char_set.h"

namespace dsv3 {

/// Regular expressions as tokenizers use them, with the meaning they have in Oniguruma (the engine
/// inside Hugging Face tokenizers) and the tables of Unicode 16. Understood:
///   literals, escapes, `.`, [sets] with ranges, sets inside sets and intersections with &&,
///   \p{L} and other general categories, \p{Han} and other scripts, \s \S \d \D \w \W,
///   alternation, groups (…) (?:…) (?i:…) (?>…), look-ahead (?=…) (?!…), the end of a line $,
///   quantifiers * + ? {m} {m,} {m,n}, lazy with ? and possessive with + (not after braces).
/// Anything else, and a pattern that may match nothing, is refused: Error with the pattern, the
/// place and the construct.
///
/// The first alternative that matches wins, not the longest. Matching backtracks with a stack on
/// the heap, so long text cannot overflow it, and gives up with an Error when a pattern takes far
/// more steps than the text has bytes. const functions may run in several threads.
class Regex {
 public:
  explicit Regex(std::string_view pattern);

  struct Match {
    size_t begin = 0, end = 0;  // bytes
  };

  /// Finds the first match in `text` (valid UTF-8) that begins at byte `from` or later. What is
  /// before `from` or outside `text` plays no role: there is no look-behind. A match has at least a
  /// character.
  bool find(std::string_view text, size_t from, Match& match) const;

  const std::string& pattern() const { return pattern_; }

  /// One step of the compiled program.
  struct Instruction {
    enum Op : uint8_t {
      kSet,        // one character of sets[set]
      kRepeat,     // min..max characters of sets[set], as many as possible first
      kRepeatLazy, // the same, as few as possible first
      kRepeatPossessive,
      kSplit,      // try at `target`, then at `other`
      kJump,       // to `target`
      kAhead,      // the program from the next step to its kMatch matches here; go on at `target`
      kNotAhead,   // it does not match
      kAtomic,     // it matches, and what it matched is final
      kMatch,
    };
    Op op;
    bool guarded = false;  // kSplit: only where guards[set] lets a character pass, else `other`
    uint32_t set = 0;
    uint32_t target = 0, other = 0;
    uint32_t min = 0, max = 0;
  };

  /// What the first character of an alternative may be (or more). A look at it spares most
  /// alternatives the way in and back.
  struct Guard {
    std::array<uint64_t, 2> ascii = {};
    CategoryMask categories = 0;  // above ASCII

    bool passes(const char* p, const char* end) const {
      if (p == end) return false;
      const auto lead = static_cast<uint8_t>(*p);
      if (lead < 0x80) return ascii[lead >> 6] >> (lead & 63) & 1;
      return categories >> category_index(utf8_decode(p)) & 1;
    }
  };

  /// All that is compiled of a pattern.
  struct Program {
    std::vector<Instruction> steps;
    std::vector<CharTable> sets;
    std::vector<Guard> guards;
  };

 private:
  class Run;

  std::string pattern_;
  Program program_;
  // The alternatives of the outermost level, in order, and for each first character a bit for each
  // alternative that it may start.
  std::vector<uint32_t> starts_;
  std::array<uint32_t, 128> ascii_starts_ = {};
  std::array<uint32_t, kCategories> category_starts_ = {};
};

}  // namespace dsv3
