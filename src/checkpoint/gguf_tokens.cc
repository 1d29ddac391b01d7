#include "checkpoint/gguf_tokens.h"

#include <algorithm>
#include <iterator>
#include <string_view>

namespace dsv3 {
namespace {

constexpr const char* kKeys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                 "tokenizer.ggml.eom_token_id"};

constexpr std::string_view kTexts[] = {"<|im_end|>",    "<|eot_id|>",
                                       "<|eom_id|>",    "<|end|>",
                                       "<|endoftext|>", "<|end_of_text|>",
                                       "<end_of_turn>", "<EOT>",
                                       "[EOT]",         "<\uFF5Cend\u2581of\u2581sentence\uFF5C>"};

// Types of tokens that are cut out of texts. Source: llama.h (enum llama_token_type).
constexpr int64_t kControl = 3, kUserDefined = 4;

}  // namespace

std::vector<int64_t> gguf_end_tokens(const GgufMetadata& metadata) {
  std::vector<int64_t> ends;
  const auto add = [&](int64_t id) {
    if (std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
  };
  for (const char* key : kKeys) {
    if (const auto id = metadata.find_integer(key)) add(*id);
  }
  const GgufStrings* tokens = metadata.find_strings("tokenizer.ggml.tokens");
  const auto types = metadata.find_integers("tokenizer.ggml.token_type");
  if (tokens == nullptr || !types) return ends;
  for (size_t i = 0; i < std::min(tokens->size(), types->size()); ++i) {
    if ((*types)[i] != kControl && (*types)[i] != kUserDefined) continue;
    if (std::find(std::begin(kTexts), std::end(kTexts), (*tokens)[i]) != std::end(kTexts)) {
      add(static_cast<int64_t>(i));
    }
  }
  return ends;
}

}  // namespace dsv3
