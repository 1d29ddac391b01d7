#include "text/regex.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "text/regex_compiler.h"
#include "text/regex_parser.h"

namespace dsv3 {

namespace {

/// Where to go on when the current attempt fails.
struct Frame {
  uint32_t pc;         // the step to go on at; for a repeat the repeat itself
  uint32_t count;      // lazy repeat: characters taken so far
  const char* at;
  const char* lowest;  // repeat: where its smallest match ends; null for another choice
};

/// A stack that needs no allocation as long as it is low, which it nearly always is.
class Stack {
 public:
  Stack() = default;
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  size_t size() const { return size_; }
  Frame& top() { return data_[size_ - 1]; }
  void pop() { --size_; }
  void cut(size_t size) { size_ = size; }
  void push(const Frame& frame) {
    if (size_ == capacity_) grow();
    data_[size_++] = frame;
  }

 private:
  void grow() {
    std::vector<Frame> larger(capacity_ * 2);
    std::copy_n(data_, size_, larger.data());
    large_ = std::move(larger);
    data_ = large_.data();
    capacity_ = large_.size();
  }

  static constexpr size_t kSmall = 16;
  Frame small_[kSmall];
  std::vector<Frame> large_;
  Frame* data_ = small_;
  size_t size_ = 0, capacity_ = kSmall;
};

}  // namespace

/// One search: the text's end, the stack of open choices and the steps it may still take.
class Regex::Run {
 public:
  Run(const Regex& regex, const char* end, size_t bytes)
      : regex_(regex), program_(regex.program_.steps.data()), sets_(regex.program_.sets.data()),
        guards_(regex.program_.guards.data()), end_(end),
        steps_left_(kMinSteps + kStepsPerByte * static_cast<int64_t>(bytes)) {}

  /// The end of the match that begins at `at` with step `pc`, or nullptr.
  const char* match(uint32_t pc, const char* at);

 private:
  // Enough for any sensible pattern, and about a second until a hopeless one is given up.
  static constexpr int64_t kStepsPerByte = 100;
  static constexpr int64_t kMinSteps = 100'000'000;

  void spend(int64_t steps) {
    steps_left_ -= steps;
    if (steps_left_ < 0) {
      fail("regular expression '{}' takes too many steps on this text", regex_.pattern_);
    }
  }

  /// Takes up to `max` characters of the set from `at` on; `lowest` is where `min` are reached.
  bool take(const Instruction& step, uint32_t max, const char*& at, const char*& lowest);
  /// Goes back to the latest open choice above `base`; false if there is none.
  bool back_up(size_t base, uint32_t& pc, const char*& at);

  const Regex& regex_;
  const Instruction* program_;
  const CharTable* sets_;
  const Guard* guards_;
  const char* end_;
  int64_t steps_left_;
  Stack stack_;
};

bool Regex::Run::take(const Instruction& step, uint32_t max, const char*& at,
                      const char*& lowest) {
  const CharTable& set = sets_[step.set];
  const char* const begin = at;
  if (step.min == 0) lowest = at;
  const char* p = at;
  uint32_t count = 0;
  while (count < max && p != end_) {
    const auto lead = static_cast<uint8_t>(*p);
    if (!(lead < 0x80 ? set.contains_ascii(lead) : set.contains(utf8_decode(p)))) break;
    p += utf8_length(lead);
    if (++count == step.min) lowest = p;
  }
  at = p;
  spend(at - begin);
  return count >= step.min;
}

bool Regex::Run::back_up(size_t base, uint32_t& pc, const char*& at) {
  while (stack_.size() > base) {
    spend(1);
    Frame& frame = stack_.top();
    const Instruction& step = program_[frame.pc];
    at = frame.at;
    pc = frame.pc;
    if (frame.lowest == nullptr) {
      stack_.pop();
    } else if (step.op == Instruction::kRepeat) {
      at = frame.at = utf8_previous(frame.at);
      ++pc;
      if (at == frame.lowest) stack_.pop();
    } else {
      const size_t length = frame.count < step.max ? sets_[step.set].match(at, end_) : 0;
      if (length == 0) {
        stack_.pop();
        continue;
      }
      ++frame.count;
      at = frame.at = at + length;
      ++pc;
    }
    return true;
  }
  return false;
}

const char* Regex::Run::match(uint32_t pc, const char* at) {
  const size_t base = stack_.size();
  for (;;) {
    const Instruction& step = program_[pc];
    const char* lowest = at;
    bool ok = true;
    switch (step.op) {
      case Instruction::kSet: {
        const size_t length = sets_[step.set].match(at, end_);
        ok = length != 0;
        at += length;
        ++pc;
        break;
      }
      case Instruction::kRepeat:
        ok = take(step, step.max, at, lowest);
        // What stands right before the end of the program never has to give anything back.
        if (ok && at != lowest && program_[pc + 1].op != Instruction::kMatch) {
          stack_.push({.pc = pc, .count = 0, .at = at, .lowest = lowest});
        }
        ++pc;
        break;
      case Instruction::kRepeatPossessive:
        ok = take(step, step.max, at, lowest);
        ++pc;
        break;
      case Instruction::kRepeatLazy:
        ok = take(step, step.min, at, lowest);
        if (ok) stack_.push({.pc = pc, .count = step.min, .at = at, .lowest = lowest});
        ++pc;
        break;
      case Instruction::kSplit:
        if (step.guarded && !guards_[step.set].passes(at, end_)) {
          pc = step.other;
          break;
        }
        stack_.push({.pc = step.other, .count = 0, .at = at, .lowest = nullptr});
        pc = step.target;
        break;
      case Instruction::kJump: pc = step.target; break;
      case Instruction::kAhead:
      case Instruction::kNotAhead:
        ok = (match(pc + 1, at) != nullptr) == (step.op == Instruction::kAhead);
        pc = step.target;
        break;
      case Instruction::kAtomic: {
        const char* const after = match(pc + 1, at);
        ok = after != nullptr;
        if (ok) at = after;
        pc = step.target;
        break;
      }
      case Instruction::kMatch: stack_.cut(base); return at;
    }
    if (!ok && !back_up(base, pc, at)) return nullptr;
  }
}

Regex::Regex(std::string_view pattern) : pattern_(pattern) {
  RegexNode root = parse_regex(pattern);
  if (first_characters(root).empty) {
    fail("regular expression '{}': a pattern that may match nothing is not supported", pattern);
  }
  // The alternatives of the outermost level get programs of their own, so that the first character
  // can rule most of them out.
  std::vector<RegexNode> alternatives;
  if (root.kind == RegexNode::kAlternation && root.children.size() <= 32) {
    alternatives = std::move(root.children);
  } else {
    alternatives.push_back(std::move(root));
  }
  for (size_t i = 0; i < alternatives.size(); ++i) {
    starts_.push_back(static_cast<uint32_t>(program_.steps.size()));
    compile_regex(alternatives[i], pattern, program_);
    const FirstCharacters first = first_characters(alternatives[i]);
    const uint32_t bit = uint32_t{1} << i;
    for (size_t c = 0; c < ascii_starts_.size(); ++c) {
      if (first.ascii[c]) ascii_starts_[c] |= bit;
    }
    for (int c = 0; c < kCategories; ++c) {
      if (first.categories >> c & 1) category_starts_[c] |= bit;
    }
  }
}

bool Regex::find(std::string_view text, size_t from, Match& match) const {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  Run run(*this, end, text.size() - from);
  for (const char* at = begin + from; at < end;) {
    const auto lead = static_cast<uint8_t>(*at);
    uint32_t candidates = lead < 0x80 ? ascii_starts_[lead]
                                      : category_starts_[category_index(utf8_decode(at))];
    for (; candidates != 0; candidates &= candidates - 1) {
      if (const char* after = run.match(starts_[std::countr_zero(candidates)], at)) {
        match = {static_cast<size_t>(at - begin), static_cast<size_t>(after - begin)};
        return true;
      }
    }
    at += utf8_length(lead);
  }
  return false;
}

}  // namespace dsv3
