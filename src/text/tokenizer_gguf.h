#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "checkpoint/gguf_metadata.h"
#include "dsv3/tokenizer.h"

// A tokenizer in the keys of a GGUF file, as llama.cpp has them.
namespace dsv3 {

/// What a token is there. Source: llama.h (enum llama_token_type).
enum class GgufTokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,      ///< no text, such as the end of a sentence
  kUserDefined = 4,  ///< an added token that is text
  kUnused = 5,       ///< stands for an id without a token
  kByte = 6,
};

namespace gguf_keys {
inline constexpr const char* kModel = "tokenizer.ggml.model";
inline constexpr const char* kPre = "tokenizer.ggml.pre";
inline constexpr const char* kTokens = "tokenizer.ggml.tokens";
inline constexpr const char* kTokenTypes = "tokenizer.ggml.token_type";
inline constexpr const char* kMerges = "tokenizer.ggml.merges";
inline constexpr const char* kBos = "tokenizer.ggml.bos_token_id";
inline constexpr const char* kEos = "tokenizer.ggml.eos_token_id";
inline constexpr const char* kEndOfTurn = "tokenizer.ggml.eot_token_id";
inline constexpr const char* kEndOfMessage = "tokenizer.ggml.eom_token_id";
inline constexpr const char* kPad = "tokenizer.ggml.padding_token_id";
inline constexpr const char* kAddBos = "tokenizer.ggml.add_bos_token";
inline constexpr const char* kAddEos = "tokenizer.ggml.add_eos_token";
inline constexpr const char* kNfc = "tokenizer.ggml.normalizer.nfc";
}  // namespace gguf_keys

struct GgufTokenizerOptions {
  /// The name of the pre-tokenizer; empty: it is found by its patterns.
  std::string pre;
  /// Rows of the model's embedding, which llama.cpp wants a token for each of; 0: as many as the
  /// tokenizer has ids.
  int64_t vocab_size = 0;
};

struct TokenizerGguf {
  /// See Tokenizer::from_file.
  static Tokenizer read(const GgufMetadata& metadata);

  /// The keys "tokenizer.*" for a model: those of its GGUF file, or made of the tokenizer and chat
  /// template of its folder as llama.cpp's converter makes them. The merges of tiktoken.model are
  /// those that give its tokens. Ends of text that only config.json or generation_config.json names
  /// become the ends of a turn and of a message. Throws Error naming the file and what a GGUF file
  /// cannot say, or whose pre-tokenizer has no name there.
  static GgufMetadata make(const std::filesystem::path& model,
                           const GgufTokenizerOptions& options = {});

 private:
  static void add_tokens(const Tokenizer::Impl& impl, int64_t n_tokens, GgufMetadata& out);
  static void add_special_ids(const Tokenizer::Impl& impl, const std::filesystem::path& folder,
                              int64_t n_tokens, GgufMetadata& out);
};

}  // namespace dsv3
