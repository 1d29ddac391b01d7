#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "text/char_set.h"

namespace dsv3 {

/// The tree of a regular expression.
struct RegexNode {
  enum Kind : uint8_t {
    kEmpty,
    kSet,          // one character of `set`
    kConcat,       // the children in order
    kAlternation,  // the first child that matches
    kRepeat,       // children[0], min to max times
    kAhead,        // children[0] matches here
    kNotAhead,
    kAtomic,       // children[0], without going back into it
  };
  enum Mode : uint8_t { kGreedy, kLazy, kPossessive };
  static constexpr uint32_t kUnbounded = UINT32_MAX;

  Kind kind = kEmpty;
  CharSet set;
  std::vector<RegexNode> children;
  uint32_t min = 0, max = 0;
  Mode mode = kGreedy;
};

/// Throws Error with the pattern and the byte where something is wrong or not supported.
RegexNode parse_regex(std::string_view pattern);

}  // namespace dsv3
