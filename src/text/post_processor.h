#pragma once

#include <cstdint>
#include <vector>

#include "base/json.h"
#include "text/vocabulary.h"

namespace dsv3 {

/// What add_special_tokens puts around the ids of a text.
struct PostProcessor {
  std::vector<int64_t> before, after;

  /// Reads the field `post_processor` of a tokenizer.json: null, ByteLevel (which only moves offsets),
  /// TemplateProcessing (its `single`) or a Sequence of them. Throws Error for others.
  static PostProcessor from_json(const Json& json, const Vocabulary& vocabulary);
};

}  // namespace dsv3
