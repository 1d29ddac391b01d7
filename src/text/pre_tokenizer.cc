#include "text/pre_tokenizer.h"

#include "text/byte_level.h"
#include "text/json_fields.h"
#include "text/splitter.h"
#include "text/utf8.h"

namespace dsv3 {
namespace {

/// Puts a space in front of a piece that has none.
class PrefixSpaceStep : public PreTokenizerStep {
 public:
  void split(const Piece& piece, PieceSink sink) const override {
    if (piece.text.starts_with(' ')) return sink(piece);
    std::string prefixed(1, ' ');
    prefixed += piece.text;
    sink({prefixed, piece.front > 0 ? piece.front + 1 : 0});
  }
};

/// Writes the bytes of a piece as the letters that stand for them.
class ByteLettersStep : public PreTokenizerStep {
 public:
  void split(const Piece& piece, PieceSink sink) const override {
    std::string letters;
    letters.reserve(piece.text.size() + piece.text.size() / 2);
    size_t front = 0;
    for (size_t i = 0; i < piece.text.size(); ++i) {
      append_utf8(letters, byte_level_letter(static_cast<uint8_t>(piece.text[i])));
      if (i < piece.front) front = letters.size();
    }
    sink({letters, front});
  }
};

/// Writes spaces as another character, in front of the piece too, and may cut before each.
class MetaspaceStep : public PreTokenizerStep {
 public:
  enum Prepend { kAlways, kFirst, kNever };

  MetaspaceStep(std::string replacement, Prepend prepend, bool split)
      : replacement_(std::move(replacement)), prepend_(prepend) {
    if (split) {
      split_ = std::make_unique<SplitStep>(find_string(replacement_),
                                           SplitBehavior::kMergedWithNext, false);
    }
  }
  void split(const Piece& piece, PieceSink sink) const override {
    std::string text;
    text.reserve(piece.text.size() + piece.text.size() / 2 + replacement_.size());
    const bool has_one = piece.text.starts_with(' ') || piece.text.starts_with(replacement_);
    const bool prepends = prepend_ == kAlways || (prepend_ == kFirst && piece.front > 0);
    if (!has_one && prepends) text = replacement_;
    size_t front = 0;
    for (size_t i = 0; i < piece.text.size(); ++i) {
      if (piece.text[i] == ' ') text += replacement_;
      else text += piece.text[i];
      if (i < piece.front) front = text.size();
    }
    if (split_) split_->split({text, front}, sink);
    else sink({text, front});
  }

 private:
  std::string replacement_;
  Prepend prepend_;
  std::unique_ptr<SplitStep> split_;
};

/// Reads the fields of a Metaspace step, also those that older files have.
std::unique_ptr<PreTokenizerStep> read_metaspace(const Json& json, const std::string& where) {
  const std::string replacement = string_field(json, "replacement", where);
  if (replacement.empty() ||
      utf8_length(static_cast<uint8_t>(replacement[0])) != replacement.size()) {
    fail("{}: replacement: is '{}', expected one character", where, replacement);
  }
  const Json* field = find_field(json, "prepend_scheme", where);
  const std::string scheme = field ? string_field(json, "prepend_scheme", where) : "always";
  MetaspaceStep::Prepend prepend = MetaspaceStep::kAlways;
  if (scheme == "first") prepend = MetaspaceStep::kFirst;
  else if (scheme == "never") prepend = MetaspaceStep::kNever;
  else if (scheme != "always") fail("{}: prepend_scheme '{}' is not supported", where, scheme);
  if (!bool_field(json, "add_prefix_space", true, where)) {
    if (field && prepend != MetaspaceStep::kNever) {
      fail("{}: add_prefix_space is false, but prepend_scheme is '{}'", where, scheme);
    }
    prepend = MetaspaceStep::kNever;
  }
  return std::make_unique<MetaspaceStep>(replacement, prepend,
                                         bool_field(json, "split", true, where));
}

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

/// Punctuation that the pre-tokenizer of that name does not know: its tables are those of
/// Unicode 8.
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

Json pre_tokenizer_json(std::span<const std::string_view> patterns) {
  Json steps = Json::array();
  for (const std::string_view pattern : patterns) {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back({{"type", "ByteLevel"},
                   {"add_prefix_space", false},
                   {"trim_offsets", true},
                   {"use_regex", false}});
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

PreTokenizer PreTokenizer::from_json(const Json& json) {
  PreTokenizer pre_tokenizer;
  if (!json.is_null()) pre_tokenizer.add(json, "pre_tokenizer");
  if (DeepseekScanner::recognises(json)) {
    pre_tokenizer.scanner_ = std::make_unique<DeepseekScanner>();
  }
  return pre_tokenizer;
}

void PreTokenizer::add(const Json& json, const std::string& field) {
  const std::string type = string_field(json, "type", field);
  const std::string where = fmt::format("{} ({})", field, type);
  if (type == "Sequence") {
    const Json& children = array_field(json, "pretokenizers", field);
    for (size_t i = 0; i < children.size(); ++i) {
      add(children[i], fmt::format("{}.pretokenizers[{}]", field, i));
    }
    return;
  }
  // After ByteLevel the text consists of the letters that stand for bytes.
  if (byte_level_) add(std::make_unique<ByteLettersStep>());
  byte_level_ = type == "ByteLevel";
  if (type == "Split") {
    const SplitBehavior behavior = behavior_of(string_field(json, "behavior", where), where);
    add(split_at(pattern_finder(json, where), behavior, bool_field(json, "invert", false, where)));
  } else if (type == "ByteLevel") {
    if (bool_field(json, "add_prefix_space", true, where)) {
      add(std::make_unique<PrefixSpaceStep>());
    }
    if (bool_field(json, "use_regex", true, where)) {
      add(split_at(find_regex(kGpt2Pattern), SplitBehavior::kIsolated));
    }
  } else if (type == "Metaspace") {
    add(read_metaspace(json, where));
  } else if (type == "Digits") {
    const bool individual = bool_field(json, "individual_digits", false, where);
    add(split_at(find_digits(),
                 individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
  } else if (type == "Punctuation") {
    const Json* behavior = find_field(json, "behavior", where);
    add(split_at(find_punctuation(),
                 behavior ? behavior_of(string_field(json, "behavior", where), where)
                          : SplitBehavior::kIsolated));
  } else if (type == "CharDelimiterSplit") {
    add(split_at(find_string(string_field(json, "delimiter", where)), SplitBehavior::kRemoved));
  } else if (type == "WhitespaceSplit") {
    add(split_at(find_character(set_of(kWhiteSpace)), SplitBehavior::kRemoved));
  } else if (type == "Whitespace") {
    add(split_at(find_words(), SplitBehavior::kRemoved, /*invert=*/true));
  } else {
    fail("{}: pre-tokenizer '{}' is not supported", field, type);
  }
}

void PreTokenizer::run(size_t step, const Piece& piece, PieceSink sink) const {
  if (step == steps_.size()) return sink(piece);
  auto next = [&](const Piece& part) { run(step + 1, part, sink); };
  steps_[step]->split(piece, next);
}

}  // namespace dsv3
