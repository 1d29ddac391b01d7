#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dsv3 {

/// A BPE tokenizer, byte-level or of characters, read from Hugging Face's tokenizer.json, from
/// tiktoken's vocabulary or from a GGUF file. It gives the ids that the `tokenizers` library (0.23) gives for the same
/// file. Copying is cheap and shares the tables; const functions may be called from several threads
/// at once.
class Tokenizer {
 public:
  /// Reads a tokenizer.json, or a model folder: there tokenizer_config.json, if present, says
  /// add_bos_token, bos_token, eos_token, pad_token and model_max_length. A tokenizer.json alone
  /// names no such tokens.
  ///
  /// Normalizers: NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Prepend, Replace. Steps
  /// before BPE: Split, ByteLevel, Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit,
  /// CharDelimiterSplit. BPE with byte_fallback, fuse_unk, ignore_merges. Decoders: ByteLevel,
  /// ByteFallback, Fuse, Metaspace, Replace, Strip. Each may be a Sequence or null. `truncation` and
  /// `padding` are left to the caller, as transformers does.
  ///
  /// A folder with tiktoken.model and no tokenizer.json (Kimi-K2, Moonlight) is read as
  /// tokenization_kimi.py reads it: Kimi's pattern; special tokens are those of
  /// `added_tokens_decoder` in tokenizer_config.json and, for the other of the 258 ids after the
  /// vocabulary, "<|reserved_token_ID|>"; texts are cut after 400,000 characters and inside of
  /// 25,000 without a change from or to white space.
  ///
  /// A GGUF file (any file of a split model) with tokenizer.ggml.model "gpt2" gives the ids of the
  /// tokenizer.json that it was made of, but for what GGUF cannot say: whether a token is looked for
  /// in normalised text, next to words or with white space, and which of the tokens that are no
  /// text `is_special`: all that are CONTROL there are, DeepSeek's <｜User｜> and tool tokens too.
  /// There `encode` with special tokens adds EOS where the file says add_eos_token.
  ///
  /// Throws Error naming the file and the field for anything malformed or not supported.
  static Tokenizer from_file(const std::filesystem::path& path);

  /// The token ids of a text. Bytes that are not valid UTF-8 count as U+FFFD, one for each maximal
  /// invalid part. `add_special_tokens` adds what the file's post-processor adds (nothing for
  /// DeepSeek). With `allow_special` false the texts of added tokens such as "<｜User｜>" are text
  /// like any other: use it for text that comes from users. Time grows as n log n at worst. A cache
  /// of short pieces (2 MiB for each thread that encodes at the same time) stays between calls.
  std::vector<int64_t> encode(std::string_view text, bool add_special_tokens = false,
                              bool allow_special = true) const;
  /// `encode` of each text, on all threads of the process-wide pool.
  std::vector<std::vector<int64_t>> encode_batch(std::span<const std::string_view> texts,
                                                 bool add_special_tokens = false,
                                                 bool allow_special = true) const;
  /// A plain prompt for generation: encode with special tokens, and BOS in front where
  /// tokenizer_config.json says add_bos_token and it is not there already. Text from a chat
  /// template has its BOS in the text: use encode for it.
  std::vector<int64_t> encode_prompt(std::string_view text) const;

  /// The text of ids, always valid UTF-8; a part of a text is decoded as if it were all. Ids
  /// without a token give nothing; with `skip_special_tokens` neither do special tokens
  /// (`is_special`).
  std::string decode(std::span<const int64_t> ids, bool skip_special_tokens = false) const;

  /// The number of tokens, added ones included. A model may have more rows than that.
  int64_t vocab_size() const;
  /// The id of a token as the file writes it ("ĠHello", "<｜User｜>"); tokens of tiktoken.model are
  /// written with the same letters for bytes.
  std::optional<int64_t> token_to_id(std::string_view token) const;
  /// The token as the file writes it, or as the normalizer leaves it if it is looked for in
  /// normalised text; nullopt where the id has none.
  std::optional<std::string> id_to_token(int64_t id) const;
  /// The bytes that the token stands for where it is not the first, perhaps part of a character;
  /// empty where the id has none.
  /// Valid as long as the tokenizer or a copy of it lives.
  std::string_view token_bytes(int64_t id) const;
  /// Whether decode with skip_special_tokens drops the token: added tokens marked special.
  /// DeepSeek's <｜User｜>, <｜Assistant｜> and tool tokens are not.
  bool is_special(int64_t id) const;
  /// Ids of all added tokens, which `encode` cuts out of the text before anything else unless told
  /// otherwise, in order.
  std::vector<int64_t> added_tokens() const;

  /// From tokenizer_config.json or the GGUF file; nullopt where it says nothing or null.
  std::optional<int64_t> bos_token_id() const;
  std::optional<int64_t> eos_token_id() const;
  std::optional<int64_t> pad_token_id() const;
  bool add_bos_token() const;
  /// Tokens; nullopt also for the huge number that transformers writes for "no limit".
  std::optional<int64_t> model_max_length() const;

 private:
  friend class StreamDecoder;
  friend struct TokenizerGguf;
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

/// Text of tokens as they come. All that `push` and `flush` return, joined, is what decode gives
/// for all ids; each piece is valid UTF-8. Only the bytes of a character that may still become
/// complete are held back; bytes that cannot are U+FFFD at once. With a ByteFallback decoder a row
/// of byte tokens is held back to its end, because one bad byte spoils all of it. Not thread safe.
class StreamDecoder {
 public:
  explicit StreamDecoder(Tokenizer tokenizer, bool skip_special_tokens = false);
  ~StreamDecoder();
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;

  /// The text that is certain with this token.
  std::string push(int64_t id);
  /// What is still held back (U+FFFD for a cut character, else nothing). Begins a new text.
  std::string flush();

 private:
  struct State;
  Tokenizer tokenizer_;
  bool skip_special_tokens_;
  std::unique_ptr<State> state_;
};

}  // namespace dsv3
