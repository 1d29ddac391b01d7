#include "dsv3/tokenizer.h"

#include <utility>

#include "base/file.h"
#include "base/thread_pool.h"
#include "checkpoint/gguf.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace dsv3 {
namespace {

/// tiktoken's wrappers of Llama and Kimi cut a text after this many characters, and inside a longer
/// row of white space or of anything else.
constexpr size_t kMaxChunk = 400'000;
constexpr size_t kMaxRow = 25'000;

/// White space as Python's str.isspace has it.
bool is_python_space(char32_t c) {
  return (category_bit(c) & kWhiteSpace) != 0 || (c >= 0x1C && c <= 0x1F);
}

template <typename F>
void for_each_chunk(std::string_view text, F&& f) {
  size_t begin = 0, characters = 0, row = 0;
  bool space = false;
  for (size_t at = 0; at < text.size(); at += utf8_length(static_cast<uint8_t>(text[at]))) {
    const bool now_space = is_python_space(utf8_decode(text.data() + at));
    if (characters % kMaxChunk == 0) {
      if (at > 0) f(text.substr(begin, at - begin));
      begin = at;
      row = 0;
    } else if (now_space != space) {
      row = 0;
    } else if (row == kMaxRow) {
      f(text.substr(begin, at - begin));
      begin = at;
      row = 0;
    }
    space = now_space;
    ++row;
    ++characters;
  }
  f(text.substr(begin));
}

}  // namespace

std::unique_ptr<Bpe::Scratch> ScratchPool::take() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) return std::make_unique<Bpe::Scratch>();
  std::unique_ptr<Bpe::Scratch> scratch = std::move(free_.back());
  free_.pop_back();
  return scratch;
}

void ScratchPool::give(std::unique_ptr<Bpe::Scratch> scratch) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(scratch));
}

Tokenizer Tokenizer::from_file(const std::filesystem::path& path) {
  if (is_gguf_file(path)) return TokenizerGguf::read(read_gguf_metadata(path));
  auto impl = std::make_shared<Impl>();
  std::error_code ignored;  // a path that cannot be looked at fails at reading, with its name
  const bool folder = std::filesystem::is_directory(path, ignored);
  const std::filesystem::path config_path = path / "tokenizer_config.json";
  Json config;
  if (folder && std::filesystem::exists(config_path, ignored)) {
    config = read_json_file(config_path);
    if (!config.is_object()) {
      fail("{}: is {}, expected an object", config_path.string(), config.type_name());
    }
  }
  std::filesystem::path file = path;
  if (folder) {
    file = path / "tokenizer.json";
    const std::filesystem::path tiktoken = path / "tiktoken.model";
    if (!std::filesystem::exists(file, ignored) && std::filesystem::exists(tiktoken, ignored)) {
      file = tiktoken;
    }
  }
  if (file.filename() == "tiktoken.model") {
    impl->read_tiktoken(read_file(file), file.string(), config);
  } else {
    impl->read_tokenizer_json(read_file(file), file.string());
  }
  if (!config.is_null()) {
    with_context(config_path.string(), [&] { impl->read_config(config); });
  }
  return Tokenizer(std::move(impl));
}

void Tokenizer::Impl::encode_plain(const Piece& text, bool allow_special, Bpe::Scratch& scratch,
                                   std::vector<int64_t>& ids) const {
  pre_tokenizer.split(text, [&](std::string_view piece) {
    bpe.encode(piece, vocabulary, is_added, allow_special, scratch, ids);
  });
}

void Tokenizer::Impl::encode_chunk(std::string_view text, bool allow_special,
                                   Bpe::Scratch& scratch, std::vector<int64_t>& ids) const {
  std::vector<TextPart> parts, inner;
  if (allow_special) raw_added.split(text, parts);
  else parts.push_back({TextPart::kText, text});
  for (const TextPart& part : parts) {
    if (part.id != TextPart::kText) {
      ids.push_back(part.id);
      continue;
    }
    Piece piece = {part.text};
    if (part.text.data() == text.data()) piece.front = utf8_length(static_cast<uint8_t>(text[0]));
    std::string normalized;
    if (!normalizer.empty()) piece.text = normalized = normalizer.apply(piece.text, piece.front);
    if (!allow_special || normalized_added.empty()) {
      encode_plain(piece, allow_special, scratch, ids);
      continue;
    }
    inner.clear();
    normalized_added.split(piece.text, inner);
    for (const TextPart& plain : inner) {
      const size_t at = plain.text.data() - piece.text.data();
      if (plain.id != TextPart::kText) ids.push_back(plain.id);
      else encode_plain(piece.part(at, plain.text.size()), allow_special, scratch, ids);
    }
  }
}

void Tokenizer::Impl::encode(std::string_view text, bool allow_special, Bpe::Scratch& scratch,
                             std::vector<int64_t>& ids) const {
  if (!in_chunks || text.size() <= kMaxRow) {
    return encode_chunk(text, allow_special, scratch, ids);
  }
  for_each_chunk(text, [&](std::string_view chunk) {
    encode_chunk(chunk, allow_special, scratch, ids);
  });
}

std::vector<int64_t> Tokenizer::encode(std::string_view text, bool add_special_tokens,
                                       bool allow_special) const {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = utf8_lossy(text);
    text = repaired;
  }
  std::vector<int64_t> ids;
  const PostProcessor& around = impl_->post_processor;
  ids.reserve(text.size() / 3 + around.before.size() + around.after.size() + 1);
  if (add_special_tokens) ids = around.before;
  if (!text.empty()) {
    const ScratchPool::Lease scratch(impl_->scratch_pool);
    impl_->encode(text, allow_special, *scratch, ids);
  }
  if (add_special_tokens) ids.insert(ids.end(), around.after.begin(), around.after.end());
  return ids;
}

std::vector<std::vector<int64_t>> Tokenizer::encode_batch(std::span<const std::string_view> texts,
                                                          bool add_special_tokens,
                                                          bool allow_special) const {
  std::vector<std::vector<int64_t>> ids(texts.size());
  thread_pool().parallel_for(static_cast<int64_t>(texts.size()), [&](int64_t i) {
    ids[i] = encode(texts[i], add_special_tokens, allow_special);
  });
  return ids;
}

std::vector<int64_t> Tokenizer::encode_prompt(std::string_view text) const {
  std::vector<int64_t> ids = encode(text, /*add_special_tokens=*/true);
  if (impl_->add_bos && (ids.empty() || ids[0] != *impl_->bos)) {
    ids.insert(ids.begin(), *impl_->bos);
  }
  return ids;
}

void Tokenizer::Impl::decode_token(int64_t id, bool skip_special_tokens, Decoder::Run& run,
                                   std::string& out) const {
  if (!vocabulary.has(id) || (skip_special_tokens && is_special[id])) return;
  if (decoder.is_byte_level()) run.bytes(token_bytes[id], out);
  else run.token(text_of(id), out);
}

std::string Tokenizer::decode(std::span<const int64_t> ids, bool skip_special_tokens) const {
  std::string text;
  if (impl_->decoder.is_byte_level()) {
    for (const int64_t id : ids) {
      if (!(skip_special_tokens && is_special(id))) text += token_bytes(id);
    }
    return is_valid_utf8(text) ? text : utf8_lossy(text);
  }
  Decoder::Run run(impl_->decoder);
  for (const int64_t id : ids) impl_->decode_token(id, skip_special_tokens, run, text);
  run.finish(text);
  return text;
}

int64_t Tokenizer::vocab_size() const { return impl_->vocabulary.size(); }

std::optional<int64_t> Tokenizer::token_to_id(std::string_view token) const {
  return impl_->vocabulary.find(token);
}

std::optional<std::string> Tokenizer::id_to_token(int64_t id) const {
  if (!impl_->vocabulary.has(id)) return std::nullopt;
  return std::string(impl_->text_of(id));
}

std::string_view Tokenizer::token_bytes(int64_t id) const {
  return impl_->vocabulary.has(id) ? impl_->token_bytes[id] : std::string_view();
}

bool Tokenizer::is_special(int64_t id) const {
  return id >= 0 && id < static_cast<int64_t>(impl_->is_special.size()) && impl_->is_special[id];
}

std::vector<int64_t> Tokenizer::added_tokens() const {
  std::vector<int64_t> ids;
  for (size_t id = 0; id < impl_->is_added.size(); ++id) {
    if (impl_->is_added[id]) ids.push_back(static_cast<int64_t>(id));
  }
  return ids;
}

std::optional<int64_t> Tokenizer::bos_token_id() const { return impl_->bos; }
std::optional<int64_t> Tokenizer::eos_token_id() const { return impl_->eos; }
std::optional<int64_t> Tokenizer::pad_token_id() const { return impl_->pad; }
bool Tokenizer::add_bos_token() const { return impl_->add_bos; }
std::optional<int64_t> Tokenizer::model_max_length() const { return impl_->model_max_length; }

struct StreamDecoder::State {
  Decoder::Run run;
};

StreamDecoder::StreamDecoder(Tokenizer tokenizer, bool skip_special_tokens)
    : tokenizer_(std::move(tokenizer)), skip_special_tokens_(skip_special_tokens),
      state_(std::make_unique<State>(State{Decoder::Run(tokenizer_.impl_->decoder)})) {}
StreamDecoder::~StreamDecoder() = default;
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;

std::string StreamDecoder::push(int64_t id) {
  std::string text;
  tokenizer_.impl_->decode_token(id, skip_special_tokens_, state_->run, text);
  return text;
}

std::string StreamDecoder::flush() {
  std::string text;
  state_->run.finish(text);
  return text;
}

}  // namespace dsv3
