#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "text/string_list.h"

namespace dsv3 {

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
