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

std::unique_ptr<PreTokenizerStep> split_at(std::unique_ptr<Finder> finder, SplitBehavior behavior,
                                           bool invert = false) {
  return std::make_unique<SplitStep>(std::move(finder), behavior, invert);
}

CharSet set_of(CategoryMask categories) {
  CharSet set;
  set.add_categories(categories);
  return set;
}

/// Punctuation that the pre-tokenizer of that name does not know: its tables are those of Unicode 8.
constexpr CodeRange kNewerPunctuation[] = {
    {0x061D, 0x061D}, {0x09FD, 0x09FD}, {0x0A76, 0x0A76}, {0x0C77, 0x0C77}, {0x0C84, 0x0C84},
    {0x1B4E, 0x1B4F}, {0x1B7D, 0x1B7F}, {0x2E43, 0x2E4F}, {0x2E52, 0x2E5D}, {0x10D6E, 0x10D6E},
    {0x10EAD, 0x10EAD}, {0x10F55, 0x10F59}, {0x10F86, 0x10F89}, {0x113D4, 0x113D5},
    {0x113D7, 0x113D8}, {0x1144B, 0x1144F}, {0x1145A, 0x1145B}, {0x1145D, 0x1145D},
    {0x11660, 0x1166C}, {0x116B9, 0x116B9}, {0x1183B, 0x1183B}, {0x11944, 0x11946},
    {0x119E2, 0x119E2}, {0x11A3F, 0x11A46}, {0x11A9A, 0x11A9C}, {0x11A9E, 0x11AA2},
    {0x11B00, 0x11B09}, {0x11BE1, 0x11BE1}, {0x11C41, 0x11C45}, {0x11C70, 0x11C71},
    {0x11EF7, 0x11EF8}, {0x11F43, 0x11F4F}, {0x11FFF, 0x11FFF}, {0x12FF1, 0x12FF2},
    {0x16D6D, 0x16D6F}, {0x16E97, 0x16E9A}, {0x16FE2, 0x16FE2}, {0x1E5FF, 0x1E5FF},
    {0x1E95E, 0x1E95F},
};

std::unique_ptr<Finder> find_punctuation() {
  CharSet set = set_of(kPunctuation);
  // All of ASCII's, symbols such as '$' and '+' included.
  for (const auto& [first, last] : {CodeRange{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}) {
    set.add(first, last);
  }
  set.add(0x166D);  // these two were punctuation then
  set.add(0x111C9);
  CharSet newer;
  newer.add(kNewerPunctuation);
  newer.negate();
  set.intersect(newer);
  return find_character(set);
}

std::unique_ptr<Finder> find_digits() {
  CharSet set = set_of(kNumber);
  set.add(0x11DE0, 0x11DE9);  // Unicode 17, which this pre-tokenizer already has
  set.add(0x16FF4, 0x16FF6);
  return find_character(set);
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
    steps_.push_back(split_at(find_digits(),
                              individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
  } else if (type == "Punctuation") {
    const Json* behavior = find_field(json, "behavior", where);
    steps_.push_back(split_at(
        find_punctuation(),
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
