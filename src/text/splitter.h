#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "text/pre_tokenizer.h"
#include "text/regex.h"

namespace dsv3 {

/// What becomes of the matches that a text is split at.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Finds where to split.
class Finder {
 public:
  virtual ~Finder() = default;
  /// The first match that begins at `from` or later; it has at least a character.
  virtual bool find(std::string_view text, size_t from, Regex::Match& match) const = 0;
};

std::unique_ptr<Finder> find_regex(std::string_view pattern);
std::unique_ptr<Finder> find_string(std::string_view text);
/// Each character of `set` is a match.
std::unique_ptr<Finder> find_character(const CharSet& set);
/// Runs of word characters (as Rust's \w), and runs of what is neither that nor white space.
std::unique_ptr<Finder> find_words();

/// The field `pattern` of a JSON object `where`: {"Regex": "..."} or {"String": "..."}.
std::unique_ptr<Finder> pattern_finder(const Json& json, const std::string& where);

/// `text` with `content` in place of each match. `front`, if there is one, as in Piece: what is put
/// in counts as coming from the last character of the match.
std::string replace_all(std::string_view text, const Finder& finder, std::string_view content,
                        size_t* front = nullptr);

/// Splits at matches, or with `invert` at what lies between them.
class SplitStep : public PreTokenizerStep {
 public:
  SplitStep(std::unique_ptr<Finder> finder, SplitBehavior behavior, bool invert)
      : finder_(std::move(finder)), behavior_(behavior), invert_(invert) {}
  void split(const Piece& piece, PieceSink sink) const override;

 private:
  void split_merging(const Piece& piece, PieceSink sink) const;

  std::unique_ptr<Finder> finder_;
  SplitBehavior behavior_;
  bool invert_;
};

}  // namespace dsv3
