#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace dsv3 {

/// What a name in the key "tokenizer.ggml.pre" stands for: how a text is cut into pieces.
struct GgufPreTokenizer {
  std::string_view name;
  /// Each cuts the pieces that the one before left, as Split (Isolated) of tokenizer.json does.
  std::vector<std::string_view> patterns;
  bool ignore_merges = false;  ///< a piece that is a token as a whole is that token
  bool add_bos = false;        ///< what an absent "add_bos_token" means
  bool in_chunks = false;      ///< long texts are cut first, as tiktoken's wrappers do
};

/// Those that we know, of names for the same thing the most common first. The patterns are those of
/// the models' own tokenizer.json. llama.cpp's own come only near some of them ("gpt-4o", "kimi-k2",
/// "deepseek-llm" and their kin), so that it gives other ids for rare letters and combining marks.
const std::vector<GgufPreTokenizer>& gguf_pre_tokenizers();

/// Throws Error naming all known ones for another name.
const GgufPreTokenizer& find_gguf_pre_tokenizer(std::string_view name);

/// The patterns of the field `pre_tokenizer` of a tokenizer.json, if it is made of nothing else and
/// ByteLevel. Throws Error naming the field and what a GGUF file cannot say.
std::vector<std::string> patterns_of(const Json& pre_tokenizer);

}  // namespace dsv3
