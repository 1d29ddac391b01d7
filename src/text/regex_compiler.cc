#include "text/regex_compiler.h"

#include "base/error.h"

namespace dsv3 {
namespace {

using Op = Regex::Instruction::Op;
using Instruction = Regex::Instruction;

constexpr size_t kMaxProgram = 10000;

void merge(FirstCharacters& into, const FirstCharacters& from) {
  for (size_t c = 0; c < into.ascii.size(); ++c) into.ascii[c] |= from.ascii[c];
  into.categories |= from.categories;
}

class Compiler {
 public:
  Compiler(std::string_view pattern, Regex::Program& program)
      : pattern_(pattern), program_(program.steps), sets_(program.sets), guards_(program.guards) {}

  void compile(const RegexNode& node) {
    switch (node.kind) {
      case RegexNode::kEmpty:
        break;
      case RegexNode::kSet:
        emit({.op = Instruction::kSet, .set = add_set(node.set)});
        break;
      case RegexNode::kConcat:
        for (const RegexNode& child : node.children) compile(child);
        break;
      case RegexNode::kAlternation:
        alternation(node);
        break;
      case RegexNode::kRepeat:
        repeat(node);
        break;
      case RegexNode::kAhead:
        nested(Instruction::kAhead, node.children[0]);
        break;
      case RegexNode::kNotAhead:
        nested(Instruction::kNotAhead, node.children[0]);
        break;
      case RegexNode::kAtomic:
        nested(Instruction::kAtomic, node.children[0]);
        break;
    }
  }

  uint32_t emit(Instruction instruction) {
    if (program_.size() >= kMaxProgram) fail("regular expression '{}' is too large", pattern_);
    program_.push_back(instruction);
    return static_cast<uint32_t>(program_.size() - 1);
  }

 private:
  uint32_t here() const { return static_cast<uint32_t>(program_.size()); }

  uint32_t add_set(const CharSet& set) {
    sets_.emplace_back(set);
    return static_cast<uint32_t>(sets_.size() - 1);
  }

  void alternation(const RegexNode& node) {
    std::vector<uint32_t> jumps;
    for (size_t i = 0; i + 1 < node.children.size(); ++i) {
      const uint32_t split = emit({.op = Instruction::kSplit, .target = here() + 1});
      guard(split, first_characters(node.children[i]));
      compile(node.children[i]);
      jumps.push_back(emit({.op = Instruction::kJump}));
      program_[split].other = here();
    }
    compile(node.children.back());
    for (const uint32_t jump : jumps) program_[jump].target = here();
  }

  /// Where `first`, what the split at `split` tries first, needs one of some characters.
  void guard(uint32_t split, const FirstCharacters& first) {
    if (first.empty) return;
    Regex::Guard made;
    for (size_t c = 0; c < first.ascii.size(); ++c) {
      if (first.ascii[c]) made.ascii[c >> 6] |= uint64_t{1} << (c & 63);
    }
    made.categories = first.categories;
    program_[split].guarded = true;
    program_[split].set = static_cast<uint32_t>(guards_.size());
    guards_.push_back(made);
  }

  void nested(Op op, const RegexNode& body) {
    const uint32_t start = emit({.op = op});
    compile(body);
    emit({.op = Instruction::kMatch});
    program_[start].target = here();
  }

  void repeat(const RegexNode& node) {
    const RegexNode& body = node.children[0];
    if (body.kind == RegexNode::kSet) {
      const Op op = node.mode == RegexNode::kGreedy ? Instruction::kRepeat
                    : node.mode == RegexNode::kLazy ? Instruction::kRepeatLazy
                                                    : Instruction::kRepeatPossessive;
      emit({.op = op, .set = add_set(body.set), .min = node.min, .max = node.max});
      return;
    }
    if (node.max == RegexNode::kUnbounded && first_characters(body).empty) {
      fail("regular expression '{}': a repeated group that may match nothing is not supported",
           pattern_);
    }
    if (node.mode == RegexNode::kPossessive) {
      const uint32_t start = emit({.op = Instruction::kAtomic});
      copies(node, body);
      emit({.op = Instruction::kMatch});
      program_[start].target = here();
    } else {
      copies(node, body);
    }
  }

  /// A group with a count is written out: min copies, then a loop or the optional copies.
  void copies(const RegexNode& node, const RegexNode& body) {
    for (uint32_t i = 0; i < node.min; ++i) compile(body);
    const FirstCharacters first = first_characters(body);
    if (node.max == RegexNode::kUnbounded) {
      const uint32_t split = emit({.op = Instruction::kSplit});
      compile(body);
      emit({.op = Instruction::kJump, .target = split});
      branch(split, node.mode, first);
      return;
    }
    std::vector<uint32_t> splits;
    for (uint32_t i = node.min; i < node.max; ++i) {
      splits.push_back(emit({.op = Instruction::kSplit}));
      compile(body);
    }
    for (const uint32_t split : splits) branch(split, node.mode, first);
  }

  /// Makes the split at `split` choose between the step after it and the end of the program.
  void branch(uint32_t split, RegexNode::Mode mode, const FirstCharacters& first) {
    program_[split].target = split + 1;
    program_[split].other = here();
    if (mode == RegexNode::kLazy)
      std::swap(program_[split].target, program_[split].other);
    else
      guard(split, first);
  }

  std::string_view pattern_;
  std::vector<Instruction>& program_;
  std::vector<CharTable>& sets_;
  std::vector<Regex::Guard>& guards_;
};

}  // namespace

FirstCharacters first_characters(const RegexNode& node) {
  FirstCharacters first;
  switch (node.kind) {
    case RegexNode::kSet: {
      const CharTable set(node.set);
      for (uint8_t c = 0; c < 0x80; ++c) first.ascii[c] = set.contains_ascii(c);
      first.categories = set.wide_categories();
      break;
    }
    case RegexNode::kAlternation:
      for (const RegexNode& child : node.children) {
        const FirstCharacters of_child = first_characters(child);
        merge(first, of_child);
        first.empty |= of_child.empty;
      }
      break;
    case RegexNode::kConcat:
      first.empty = true;
      for (size_t i = 0; i < node.children.size() && first.empty; ++i) {
        const FirstCharacters of_child = first_characters(node.children[i]);
        merge(first, of_child);
        first.empty = of_child.empty;
      }
      break;
    case RegexNode::kRepeat:
      first = first_characters(node.children[0]);
      first.empty |= node.min == 0;
      break;
    case RegexNode::kAtomic:
      first = first_characters(node.children[0]);
      break;
    case RegexNode::kEmpty:
    case RegexNode::kAhead:
    case RegexNode::kNotAhead:
      first.empty = true;
      break;
  }
  return first;
}

void compile_regex(const RegexNode& node, std::string_view pattern, Regex::Program& program) {
  Compiler compiler(pattern, program);
  compiler.compile(node);
  compiler.emit({.op = Instruction::kMatch});
}

}  // namespace dsv3
