#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/json.h"
#include "text/deepseek_scanner.h"

namespace dsv3 {

/// The pattern that GPT-2 splits with.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// A piece of a text. The first `front` bytes (to the end of a character) come from the first
/// character of the whole text: some steps treat a piece that begins there in their own way.
struct Piece {
  std::string_view text;
  size_t front = 0;

  Piece part(size_t at, size_t size = std::string_view::npos) const {
    return {text.substr(at, size), front > at ? front - at : 0};
  }
};

/// A reference to a function that takes the pieces of a text one by one.
class PieceSink {
 public:
  template <typename F>
    requires(!std::is_same_v<std::remove_const_t<F>, PieceSink>)
  PieceSink(F& f)  // NOLINT: implicit, like a function reference
      : object_(&f),
        call_([](void* object, const Piece& piece) { (*static_cast<F*>(object))(piece); }) {}
  void operator()(const Piece& piece) const { call_(object_, piece); }

 private:
  void* object_;
  void (*call_)(void*, const Piece&);
};

/// One step of a pre-tokenizer: cuts a piece into smaller ones.
class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  virtual void split(const Piece& piece, PieceSink sink) const = 0;
};

/// What tokenizer.json has for a split by each of the patterns in turn, then ByteLevel.
Json pre_tokenizer_json(std::span<const std::string_view> patterns);

/// The steps that cut a text into the pieces that BPE works on, each alone. If ByteLevel is the
/// last step, pieces are plain bytes of the text: the letters that stand for them come in with the
/// vocabulary.
class PreTokenizer {
 public:
  /// Reads the field `pre_tokenizer` of a tokenizer.json; null: a text is one piece. Throws Error
  /// naming the field for what is not supported.
  static PreTokenizer from_json(const Json& json);

  /// Whether the last step is ByteLevel.
  bool byte_level() const { return byte_level_; }

  /// Gives the pieces of a text (valid UTF-8), none of them empty, in order, to
  /// `f(std::string_view)`.
  template <typename F>
  void split(const Piece& text, F&& f) const {
    if (text.text.empty()) return;
    if (scanner_) scanner_->split(text.text, f);
    else split_in_steps(text, f);
  }
  /// The same, always with the steps one after another.
  template <typename F>
  void split_in_steps(const Piece& text, F&& f) const {
    auto last = [&](const Piece& piece) { f(piece.text); };
    if (!text.text.empty()) run(0, text, last);
  }

 private:
  void add(const Json& json, const std::string& field);
  void add(std::unique_ptr<PreTokenizerStep> step) { steps_.push_back(std::move(step)); }
  void run(size_t step, const Piece& piece, PieceSink sink) const;

  std::vector<std::unique_ptr<PreTokenizerStep>> steps_;
  bool byte_level_ = false;
  std::unique_ptr<const DeepseekScanner> scanner_;  // does what the steps do
};

}  // namespace dsv3
