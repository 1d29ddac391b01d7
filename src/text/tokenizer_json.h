#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace dsv3 {

/// Many short strings in one buffer.
class StringList {
 public:
  void push_back(std::string_view text) {
    texts_ += text;
    ends_.push_back(texts_.size());
  }
  size_t size() const { return ends_.size(); }
  std::string_view operator[](size_t i) const {
    const size_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(texts_).substr(begin, ends_[i] - begin);
  }

 private:
  std::string texts_;
  std::vector<size_t> ends_;
};

/// A parsed tokenizer.json. Its two large fields are kept out of the JSON tree, which would be slow
/// to fill with a hundred thousand entries; they are left out of `json`.
struct TokenizerJson {
  Json json;
  bool has_vocab = false, has_merges = false;
  StringList vocab_tokens;         // model.vocab, in the order of the file
  std::vector<int64_t> vocab_ids;
  StringList merges;               // model.merges: left and right of each in turn
};

/// Throws Error naming `where` (the file) and the field for text that is not JSON, or a vocab or
/// merges of the wrong types.
TokenizerJson parse_tokenizer_json(std::string_view text, const std::string& where);

}  // namespace dsv3
