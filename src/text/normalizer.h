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
  /// `front`: as in Piece; it becomes that of the result.
  virtual std::string apply(std::string_view text, size_t& front) const = 0;
};

/// What happens to a text before it is cut into pieces.
class Normalizer {
 public:
  /// Reads the field `normalizer` of a tokenizer.json: null, NFC, NFD, NFKC, NFKD, Lowercase,
  /// Strip, StripAccents, Prepend, Replace or a Sequence of them. Throws Error naming the field and
  /// the kind for others.
  static Normalizer from_json(const Json& json);

  /// Whether texts stay as they are.
  bool empty() const { return steps_.empty(); }
  /// The normalised text (valid UTF-8). `front`: as in Piece; it becomes that of the result.
  std::string apply(std::string_view text, size_t& front) const;

 private:
  void add(const Json& json, const std::string& field);

  std::vector<std::unique_ptr<NormalizerStep>> steps_;
};

}  // namespace dsv3
