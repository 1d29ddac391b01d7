#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace dsv3 {

/// One step of a normalizer.
class NormalizerStep {
 public:
  virtual ~NormalizerStep() = default;
  /// `at_start` becomes false if what the text began with is gone.
  virtual std::string apply(std::string_view text, bool& at_start) const = 0;
};

/// What happens to a text before it is cut into pieces.
class Normalizer {
 public:
  /// Reads the field `normalizer` of a tokenizer.json: null, NFC, NFD, NFKC, NFKD, Lowercase, Strip,
  /// StripAccents, Prepend, Replace or a Sequence of them. Throws Error naming the field and the
  /// kind for others.
  static Normalizer from_json(const Json& json);

  /// Whether texts stay as they are.
  bool empty() const { return steps_.empty(); }
  /// The normalised text (valid UTF-8). `at_start` becomes false if what the text began with was
  /// dropped: then the result does not count as standing at the beginning.
  std::string apply(std::string_view text, bool& at_start) const;

 private:
  void add(const Json& json, const std::string& field);

  std::vector<std::unique_ptr<NormalizerStep>> steps_;
};

}  // namespace dsv3
