#include "text/pre_tokenizer.h"

#include "text/json_fields.h"
#include "text/splitter.h"

namespace dsv3 {
namespace {

/// The pattern that GPT-2 splits with.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// Puts a space in front of a piece that has none.
class PrefixSpaceStep : public PreTokenizerStep {
 public:
  void split(std::string_view piece, PieceSink sink) const override {
    if (piece.starts_with(' ')) return sink(piece);
    std::string prefixed(1, ' ');
    prefixed += piece;
    sink(prefixed);
  }
};

SplitBehavior behavior_of(const std::string& name, const std::string& where) {
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  fail("{}: behavior '{}' is not supported", where, name);
}

std::unique_ptr<Finder> pattern_finder(const Json& json, const std::string& where) {
  const Json* pattern = find_field(json, "pattern", where);
  if (!pattern || !pattern->is_object() || pattern->size() != 1) {
    fail(R"({}: field 'pattern' must be {{"Regex": "..."}} or {{"String": "..."}})", where);
  }
  const std::string kind = pattern->begin().key();
  const std::string text = string_field(*pattern, kind, where + ".pattern");
  if (text.empty()) fail("{}: an empty pattern is not supported", where);
  if (kind == "String") return find_string(text);
  if (kind == "Regex") return with_context(where, [&] { return find_regex(text); });
  fail("{}: pattern kind '{}' is not supported", where, kind);
}

std::unique_ptr<PreTokenizerStep> split_at(std::unique_ptr<Finder> finder, SplitBehavior behavior,
                                           bool invert = false) {
  return std::make_unique<SplitStep>(std::move(finder), behavior, invert);
}

CharSet set_of(CategoryMask categories) {
  CharSet set;
  set.add_categories(categories);
  return set;
}

CharSet punctuation() {
  CharSet set = set_of(kPunctuation);
  // All of ASCII's, symbols such as '$' and '+' included.
  for (const auto& [first, last] : {std::pair{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}) {
    set.add(first, last);
  }
  return set;
}

}  // namespace

PreTokenizer PreTokenizer::from_json(const Json& json) {
  PreTokenizer pre_tokenizer;
  if (!json.is_null()) pre_tokenizer.add(json, "pre_tokenizer");
  if (!pre_tokenizer.byte_level_) {
    fail("pre_tokenizer: the last step must be ByteLevel (only byte-level BPE is supported)");
  }
  return pre_tokenizer;
}

void PreTokenizer::add(const Json& json, const std::string& field) {
  const std::string type = string_field(json, "type", field);
  const std::string where = fmt::format("{} ({})", field, type);
  // After ByteLevel the text would consist of the letters that stand for bytes.
  if (byte_level_) fail("{}: a step after ByteLevel is not supported", where);
  if (type == "Sequence") {
    const Json& children = array_field(json, "pretokenizers", field);
    for (size_t i = 0; i < children.size(); ++i) {
      add(children[i], fmt::format("{}.pretokenizers[{}]", field, i));
    }
  } else if (type == "Split") {
    const SplitBehavior behavior = behavior_of(string_field(json, "behavior", where), where);
    steps_.push_back(split_at(pattern_finder(json, where), behavior,
                              bool_field(json, "invert", false, where)));
  } else if (type == "ByteLevel") {
    if (bool_field(json, "add_prefix_space", true, where)) {
      steps_.push_back(std::make_unique<PrefixSpaceStep>());
    }
    if (bool_field(json, "use_regex", true, where)) {
      steps_.push_back(split_at(find_regex(kGpt2Pattern), SplitBehavior::kIsolated));
    }
    byte_level_ = true;
  } else if (type == "Digits") {
    const bool individual = bool_field(json, "individual_digits", false, where);
    steps_.push_back(split_at(find_character(set_of(kNumber)),
                              individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
  } else if (type == "Punctuation") {
    const Json* behavior = find_field(json, "behavior", where);
    steps_.push_back(split_at(
        find_character(punctuation()),
        behavior ? behavior_of(string_field(json, "behavior", where), where)
                 : SplitBehavior::kIsolated));
  } else if (type == "WhitespaceSplit") {
    steps_.push_back(split_at(find_character(set_of(kWhiteSpace)), SplitBehavior::kRemoved));
  } else if (type == "Whitespace") {
    steps_.push_back(split_at(find_words(), SplitBehavior::kRemoved, /*invert=*/true));
  } else {
    fail("{}: pre-tokenizer '{}' is not supported", field, type);
  }
}

void PreTokenizer::run(size_t step, std::string_view piece, PieceSink sink) const {
  if (step == steps_.size()) return sink(piece);
  auto next = [&](std::string_view part) { run(step + 1, part, sink); };
  steps_[step]->split(piece, next);
}

}  // namespace dsv3
