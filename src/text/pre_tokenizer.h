#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/json.h"

namespace dsv3 {

/// A reference to a function that takes the pieces of a text one by one.
class PieceSink {
 public:
  template <typename F>
    requires(!std::is_same_v<F, PieceSink>)
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
  virtual void split(std::string_view piece, PieceSink sink) const = 0;
};

/// The steps that cut a text into the pieces that BPE works on, each alone. Pieces of a byte-level
/// tokenizer are plain bytes of the text: the letters that stand for them come in with the
/// vocabulary.
class PreTokenizer {
 public:
  /// Reads the field `pre_tokenizer` of a tokenizer.json. Throws Error naming the field for what is
  /// not supported; the last step must be ByteLevel.
  static PreTokenizer from_json(const Json& json);

  /// Gives the pieces of `text` (valid UTF-8), none of them empty, in order.
  void split(std::string_view text, PieceSink sink) const { run(0, text, sink); }

 private:
  void add(const Json& json, const std::string& field);
  void run(size_t step, std::string_view piece, PieceSink sink) const;

  std::vector<std::unique_ptr<PreTokenizerStep>> steps_;
  bool byte_level_ = false;
};

}  // namespace dsv3
