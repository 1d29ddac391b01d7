#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/json.h"
#include "text/deepseek_scanner.h"

namespace dsv3 {

/// A reference to a function that takes the pieces of a text one by one.
class PieceSink {
 public:
  template <typename F>
    requires(!std::is_same_v<std::remove_const_t<F>, PieceSink>)
  PieceSink(F& f)  // NOLINT: implicit, like a function reference
      : object_(&f), call_([](void* object, std::string_view piece) {
          (*static_cast<F*>(object))(piece);
        }) {}
  void operator()(std::string_view piece) const { call_(object_, piece); }

 private:
  void* object_;
  void (*call_)(void*, std::string_view);
};

/// One step of a pre-tokenizer: cuts a piece into smaller ones.
class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  /// `at_start`: the piece begins where the text does.
  virtual void split(std::string_view piece, bool at_start, PieceSink sink) const = 0;
  /// Whether it gives pieces of a changed text, of which the first is where the text begins.
  virtual bool rewrites() const { return false; }
};

/// The steps that cut a text into the pieces that BPE works on, each alone. If ByteLevel is the last
/// step, pieces are plain bytes of the text: the letters that stand for them come in with the
/// vocabulary.
class PreTokenizer {
 public:
  /// Reads the field `pre_tokenizer` of a tokenizer.json; null: a text is one piece. Throws Error
  /// naming the field for what is not supported.
  static PreTokenizer from_json(const Json& json);

  /// Whether the last step is ByteLevel.
  bool byte_level() const { return byte_level_; }

  /// Gives the pieces of `text` (valid UTF-8), none of them empty, in order, to
  /// `f(std::string_view)`. `at_start`: it is the beginning of the whole text.
  template <typename F>
  void split(std::string_view text, bool at_start, F&& f) const {
    if (text.empty()) return;
    if (scanner_) scanner_->split(text, f);
    else run(0, text, at_start, f);
  }
  /// The same, always with the steps one after another.
  void split_in_steps(std::string_view text, bool at_start, PieceSink sink) const {
    if (!text.empty()) run(0, text, at_start, sink);
  }

 private:
  void add(const Json& json, const std::string& field);
  void add(std::unique_ptr<PreTokenizerStep> step) { steps_.push_back(std::move(step)); }
  void run(size_t step, std::string_view piece, bool at_start, PieceSink sink) const;

  std::vector<std::unique_ptr<PreTokenizerStep>> steps_;
  bool byte_level_ = false;
  std::unique_ptr<const DeepseekScanner> scanner_;  // does what the steps do
};

}  // namespace dsv3
