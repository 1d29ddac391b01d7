#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/gguf_metadata.h"
#include "dsv3/tokenizer.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/string_list.h"
#include "text/vocabulary.h"

namespace dsv3 {

/// Scratch memory for each thread that encodes, kept between calls: its cache pays off then.
class ScratchPool {
 public:
  class Lease {
   public:
    explicit Lease(ScratchPool& pool) : pool_(pool), scratch_(pool.take()) {}
    ~Lease() { pool_.give(std::move(scratch_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Bpe::Scratch& operator*() const { return *scratch_; }

   private:
    ScratchPool& pool_;
    std::unique_ptr<Bpe::Scratch> scratch_;
  };

 private:
  std::unique_ptr<Bpe::Scratch> take();
  void give(std::unique_ptr<Bpe::Scratch> scratch);

  std::mutex mutex_;
  std::vector<std::unique_ptr<Bpe::Scratch>> free_;
};

/// The steps from text to ids and back, in the order of their use.
struct Tokenizer::Impl {
  AddedTokenFinder raw_added;         // on the text as it is
  Normalizer normalizer;              // on what is left
  AddedTokenFinder normalized_added;  // on the result
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  PostProcessor post_processor;
  Decoder decoder;

  Vocabulary vocabulary;
  // Added tokens whose text the normalizer changes, as it leaves them.
  std::map<int64_t, std::string> normalized_texts;
  StringList token_bytes;                // by id
  std::vector<bool> is_added, is_special;  // by id
  bool in_chunks = false;  // long texts are cut first, as tiktoken's wrappers do

  std::optional<int64_t> bos, eos, pad, model_max_length;
  bool add_bos = false;

  mutable ScratchPool scratch_pool;

  void read_tokenizer_json(const std::string& text, const std::string& where);
  /// `config` is tokenizer_config.json or null; `where` names the vocabulary's file.
  void read_tiktoken(const std::string& text, const std::string& where, const Json& config);
  void read_config(const Json& json);
  void read_gguf(const GgufMetadata& metadata);
  /// Puts the tokens into the vocabulary and the finders. To be called after the model and the
  /// normalizer are read.
  void set_added_tokens(const std::vector<AddedToken>& tokens);
  /// The text that a token is decoded from.
  std::string_view text_of(int64_t id) const {
    if (normalized_texts.empty() || !is_added[id]) return vocabulary.text(id);
    const auto found = normalized_texts.find(id);
    return found == normalized_texts.end() ? vocabulary.text(id) : found->second;
  }
  /// To be called when all tokens and the decoder are there.
  void make_token_bytes();

  /// The ids of a text (valid UTF-8), without those that the post-processor adds.
  void encode(std::string_view text, bool allow_special, Bpe::Scratch& scratch,
              std::vector<int64_t>& ids) const;
  void encode_chunk(std::string_view text, bool allow_special, Bpe::Scratch& scratch,
                    std::vector<int64_t>& ids) const;
  void encode_plain(const Piece& text, bool allow_special, Bpe::Scratch& scratch,
                    std::vector<int64_t>& ids) const;

  /// Gives the token to the decoder that `run` belongs to.
  void decode_token(int64_t id, bool skip_special_tokens, Decoder::Run& run,
                    std::string& out) const;
};

}  // namespace dsv3
