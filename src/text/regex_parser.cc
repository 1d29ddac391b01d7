#include "text/regex_parser.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"

namespace dsv3 {
namespace {

constexpr int kMaxDepth = 100;
constexpr uint32_t kMaxCount = 1000;

class Parser {
 public:
  explicit Parser(std::string_view pattern) : pattern_(pattern) {
    if (!is_valid_utf8(pattern)) refuse("is not valid UTF-8");
  }

  RegexNode parse() {
    RegexNode node = alternation(0);
    if (!done()) refuse("')' without '('");
    return node;
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail("regular expression '{}', byte {}: {}", pattern_, at_, what);
  }
  [[noreturn]] void unsupported(std::string_view what) const {
    refuse(fmt::format("{} is not supported", what));
  }

  bool done() const { return at_ == pattern_.size(); }
  char peek() const { return done() ? '\0' : pattern_[at_]; }
  bool looking_at(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }
  bool take(std::string_view text) {
    if (!looking_at(text)) return false;
    at_ += text.size();
    return true;
  }
  char32_t take_character() {
    if (done()) refuse("ends too early");
    const char32_t c = utf8_decode(pattern_.data() + at_);
    at_ += utf8_length(static_cast<uint8_t>(pattern_[at_]));
    return c;
  }

  RegexNode alternation(int depth) {
    if (depth > kMaxDepth) refuse("groups are nested too deeply");
    std::vector<RegexNode> branches;
    do branches.push_back(sequence(depth));
    while (take("|"));
    if (branches.size() == 1) return std::move(branches[0]);
    return {.kind = RegexNode::kAlternation, .set = {}, .children = std::move(branches)};
  }

  RegexNode sequence(int depth) {
    RegexNode node{.kind = RegexNode::kConcat};
    previous_literal_ = 0;
    while (!done() && peek() != '|' && peek() != ')') node.children.push_back(quantified(depth));
    if (node.children.size() == 1) return std::move(node.children[0]);
    return node;
  }

  RegexNode quantified(int depth) {
    RegexNode node = atom(depth);
    for (bool first = true;; first = false) {
      const size_t begin = at_;
      uint32_t min, max;
      const bool braces = peek() == '{';
      if (take("*")) {
        min = 0, max = RegexNode::kUnbounded;
      } else if (take("+")) {
        min = 1, max = RegexNode::kUnbounded;
      } else if (take("?")) {
        min = 0, max = 1;
      } else if (braces) {
        std::tie(min, max) = counts();
      } else {
        return node;
      }
      if (!first) {
        at_ = begin;
        unsupported("a quantifier of a quantifier");
      }
      if (node.kind == RegexNode::kAhead || node.kind == RegexNode::kNotAhead) {
        at_ = begin;
        unsupported("a quantifier of a look-ahead");
      }
      RegexNode repeat{
          .kind = RegexNode::kRepeat, .set = {}, .children = {}, .min = min, .max = max};
      repeat.children.push_back(std::move(node));
      // In Oniguruma's Ruby syntax "{1,3}+" is a quantifier of a quantifier, not a possessive one,
      // and "{3}?" is optional, not lazy: both are left to the refusal above.
      if (!braces && take("+")) repeat.mode = RegexNode::kPossessive;
      if ((!braces || min != max) && repeat.mode == RegexNode::kGreedy && take("?")) {
        repeat.mode = RegexNode::kLazy;
      }
      node = std::move(repeat);
      previous_literal_ = 0;
    }
  }

  std::pair<uint32_t, uint32_t> counts() {
    take("{");
    const std::optional<uint32_t> low = number();
    std::optional<uint32_t> high = low;
    if (take(",")) high = number();
    else if (!low) refuse("'{' without a count (a literal brace is \\{)");
    const bool both_missing = !low && !high;
    if (both_missing || !take("}")) refuse("a count must be {m}, {m,}, {,n} or {m,n}");
    const uint32_t max = high.value_or(RegexNode::kUnbounded);
    if (low.value_or(0) > max) refuse("a count's minimum is above its maximum");
    return {low.value_or(0), max};
  }

  std::optional<uint32_t> number() {
    std::optional<uint32_t> value;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      value = value.value_or(0) * 10 + (peek() - '0');
      if (*value > kMaxCount) refuse(fmt::format("a count above {}", kMaxCount));
    }
    return value;
  }

  RegexNode atom(int depth) {
    if (peek() == '(') return group(depth);
    RegexNode node{.kind = RegexNode::kSet};
    if (take("[")) {
      previous_literal_ = 0;
      node.set = bracket_set(0);
    } else if (take(".")) {
      previous_literal_ = 0;
      node.set.add(U'\n');
      node.set.negate();
    } else if (take("$")) {
      // The end of a line: no other character than a newline follows.
      previous_literal_ = 0;
      RegexNode other{.kind = RegexNode::kSet};
      other.set.add(U'\n');
      other.set.negate();
      node.kind = RegexNode::kNotAhead;
      node.children.push_back(std::move(other));
    } else if (peek() == '^') {
      unsupported("the anchor '^'");
    } else if (peek() == '*' || peek() == '+' || peek() == '?') {
      refuse("a quantifier with nothing before it");
    } else if (peek() == '{') {
      refuse("'{' with nothing before it (a literal brace is \\{)");
    } else if (peek() == '\\') {
      if (const auto c = escape(node.set)) add_literal(node.set, *c);
      else previous_literal_ = 0;
    } else {
      add_literal(node.set, take_character());
    }
    return node;
  }

  RegexNode group(int depth) {
    take("(");
    RegexNode node;
    const bool outer_ignore_case = ignore_case_;
    if (!take("?")) {
      node.kind = RegexNode::kConcat;
    } else if (take(":")) {
      node.kind = RegexNode::kConcat;
    } else if (take("i:")) {
      node.kind = RegexNode::kConcat;
      ignore_case_ = true;
    } else if (take("=")) {
      node.kind = RegexNode::kAhead;
    } else if (take("!")) {
      node.kind = RegexNode::kNotAhead;
    } else if (take(">")) {
      node.kind = RegexNode::kAtomic;
    } else if (looking_at("<=") || looking_at("<!")) {
      unsupported("look-behind");
    } else {
      unsupported("this kind of group");
    }
    node.children.push_back(alternation(depth + 1));
    if (!take(")")) refuse("'(' without ')'");
    ignore_case_ = outer_ignore_case;
    previous_literal_ = 0;
    return node;
  }

  /// What follows '['. Operands of && are unions of items; ^ negates the whole.
  CharSet bracket_set(int depth) {
    if (depth > kMaxDepth) refuse("sets are nested too deeply");
    const bool outer = in_set_;
    in_set_ = true;
    const bool negated = take("^");
    if (negated && outer && ignore_case_) unsupported("a negated set inside a set inside (?i:..)");
    std::optional<CharSet> all;
    do {
      const CharSet operand = set_operand(depth);
      if (all) all->intersect(operand);
      else all = operand;
    } while (take("&&"));
    if (!take("]")) refuse("'[' without ']'");
    in_set_ = outer;
    if (negated) all->negate();
    return *all;
  }

  CharSet set_operand(int depth) {
    CharSet set;
    for (bool first = true; first || (peek() != ']' && !looking_at("&&")); first = false) {
      if (done()) refuse("'[' without ']'");
      if (peek() == ']') unsupported("']' as the first character of a set (write \\])");
      if (looking_at("&&")) unsupported("'&&' with nothing before it");
      if (looking_at("[:")) unsupported("a POSIX bracket (a literal bracket is \\[)");
      if (take("[")) {
        set.add(bracket_set(depth + 1));
        continue;
      }
      const std::optional<char32_t> low = set_item(set);
      if (!low) {
        if (peek() == '-' && !looking_at("-]")) unsupported("a range that begins with a class");
        continue;
      }
      if (peek() != '-' || looking_at("-]")) {
        add_folded(set, *low, *low);
        continue;
      }
      take("-");
      if (peek() == '[' || looking_at("&&")) unsupported("a range that ends with a set");
      const std::optional<char32_t> high = set_item(set);
      if (!high) unsupported("a range that ends with a class");
      if (*high < *low) refuse("a range whose end is before its start");
      add_folded(set, *low, *high);
    }
    return set;
  }

  /// The next character of a set; a class (\s, \p{L}) goes into the set instead.
  std::optional<char32_t> set_item(CharSet& set) {
    if (done()) refuse("'[' without ']'");
    return peek() == '\\' ? escape(set) : take_character();
  }

  /// What follows a backslash: a character, or nullopt after adding a class to `set`.
  std::optional<char32_t> escape(CharSet& set) {
    const size_t begin = at_;
    take("\\");
    const char32_t c = take_character();
    switch (c) {
      case 'n': return U'\n';
      case 'r': return U'\r';
      case 't': return U'\t';
      case 'f': return U'\f';
      case 'v': return U'\v';
      case 'a': return U'\a';
      case 'e': return U'\x1B';
      case 'u': return hexadecimal(4, 4);
      case 'x': {
        if (!take("{")) return hexadecimal(2, 2);
        const char32_t value = hexadecimal(1, 6);
        if (!take("}")) refuse("\\x{ without }");
        return value;
      }
      case 's': case 'S': add_class(set, kWhiteSpace, c == 'S'); return std::nullopt;
      case 'd': case 'D':
        add_class(set, category_mask(Category::kNd), c == 'D');
        return std::nullopt;
      case 'w': add_word(set); return std::nullopt;
      case 'W':
        if (in_set_) unsupported("\\W inside a set");
        add_word(set);
        set.negate();
        return std::nullopt;
      case 'p': case 'P': {
        const size_t close = pattern_.find('}', at_);
        if (!take("{") || close == pattern_.npos) refuse("\\p without {name}");
        const bool caret = take("^");
        const std::string_view name = pattern_.substr(at_, close - at_);
        const auto categories = categories_of(name);
        const auto script = script_ranges(name);
        if (!categories && !script) unsupported(fmt::format("the class \\p{{{}}}", name));
        at_ = close + 1;
        if (ignore_case_) unsupported("\\p{..} inside (?i:..)");
        CharSet named;
        if (categories) named.add_categories(*categories);
        else named.add(*script);
        if ((c == 'P') != caret) named.negate();
        set.add(named);
        return std::nullopt;
      }
      default:
        if (c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
            (c >= 'A' && c <= 'Z')) {
          at_ = begin;
          unsupported(fmt::format("the escape \\{}", pattern_.substr(begin + 1, utf8_length(
                                                         static_cast<uint8_t>(pattern_[begin + 1])))));
        }
        return c;
    }
  }

  char32_t hexadecimal(int min_digits, int max_digits) {
    char32_t value = 0;
    int digits = 0;
    for (; digits < max_digits && !done(); ++digits, ++at_) {
      const char c = peek();
      if (c >= '0' && c <= '9') value = value * 16 + (c - '0');
      else if (c >= 'a' && c <= 'f') value = value * 16 + (c - 'a' + 10);
      else if (c >= 'A' && c <= 'F') value = value * 16 + (c - 'A' + 10);
      else break;
    }
    if (digits < min_digits || value > 0x10FFFF) refuse("a bad hexadecimal code point");
    return value;
  }

  static void add_class(CharSet& set, CategoryMask categories, bool negated) {
    set.add_categories(negated ? kAllCategories & ~categories : categories);
  }

  /// Oniguruma's word characters. Outside of a set they have the other numbers of Latin-1 too.
  void add_word(CharSet& set) const {
    set.add_categories(kWord);
    set.add(kOtherWord);
    if (in_set_) return;
    set.add(0xB2, 0xB3);
    set.add(0xB9);
    set.add(0xBC, 0xBE);
  }

  void add_literal(CharSet& set, char32_t c) {
    add_folded(set, c, c);
    if (!ignore_case_) return;
    // Some pairs of letters are equal to one character (ss and ß, fi and its ligature).
    const auto lower = [](char32_t x) { return x >= 'A' && x <= 'Z' ? x + 32 : x; };
    const char32_t a = lower(previous_literal_), b = lower(c);
    if ((a == 's' && (b == 's' || b == 't')) || (a == 'f' && (b == 'f' || b == 'i' || b == 'l'))) {
      unsupported("this pair of letters inside (?i:..)");
    }
    previous_literal_ = c;
  }

  void add_folded(CharSet& set, char32_t first, char32_t last) {
    set.add(first, last);
    if (!ignore_case_) return;
    if (last >= 0x80) unsupported("a character above ASCII inside (?i:..)");
    for (char32_t c = first; c <= last; ++c) {
      if (c >= 'a' && c <= 'z') set.add(c - 32);
      if (c >= 'A' && c <= 'Z') set.add(c + 32);
      if (c == 's' || c == 'S') set.add(0x017F);  // long s
      if (c == 'k' || c == 'K') set.add(0x212A);  // Kelvin sign
    }
  }

  std::string_view pattern_;
  size_t at_ = 0;
  bool ignore_case_ = false;
  bool in_set_ = false;
  char32_t previous_literal_ = 0;
};

}  // namespace

RegexNode parse_regex(std::string_view pattern) { return Parser(pattern).parse(); }

}  // namespace dsv3
