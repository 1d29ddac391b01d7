#include "dsv3/tokenizer.h"

#include "base/file.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/json_fields.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace dsv3 {

struct Tokenizer::Impl {
  Vocabulary vocabulary;
  // In the order of the file: first those on the raw text, then those on what is left.
  AddedTokenFinder raw_added, normalized_added;
  std::vector<bool> is_added, is_special;  // by id
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  PostProcessor post_processor;

  std::optional<int64_t> bos, eos, pad, model_max_length;
  bool add_bos = false;

  void read_tokenizer(const std::string& text, const std::string& where);
  void read_model(const TokenizerJson& parsed);
  void read_added_tokens(const Json& json);
  void read_config(const Json& json);

  void encode_text(std::string_view text, Bpe::Scratch& scratch, std::vector<int64_t>& ids) const;
  void encode_with_added(std::string_view text, Bpe::Scratch& scratch,
                         std::vector<int64_t>& ids) const;
};

namespace {

void check_normalizer(const Json& json) {
  if (json.is_null()) return;
  const std::string type = string_field(json, "type", "normalizer");
  if (type != "Sequence") fail("normalizer '{}' is not supported", type);
  for (const Json& child : array_field(json, "normalizers", "normalizer")) check_normalizer(child);
}

void check_decoder(const Json& json) {
  if (json.is_null()) fail("decoder: is absent, expected ByteLevel");
  const std::string type = string_field(json, "type", "decoder");
  if (type == "Sequence") {
    const Json& children = array_field(json, "decoders", "decoder");
    // After ByteLevel the text is whole: Fuse has nothing left to do.
    for (size_t i = 0; i < children.size(); ++i) {
      if (i > 0 && string_field(children[i], "type", "decoder") == "Fuse") continue;
      check_decoder(children[i]);
    }
    if (children.empty()) fail("decoder: is an empty Sequence, expected ByteLevel");
  } else if (type != "ByteLevel") {
    fail("decoder '{}' is not supported", type);
  }
}

/// A field that is absent counts as null.
const Json& field_or_null(const Json& json, std::string_view name) {
  static const Json null;
  const Json* field = find_field(json, name, "the file");
  return field ? *field : null;
}

std::vector<Merge> read_merges(const StringList& texts, const Vocabulary& vocabulary) {
  std::vector<Merge> merges(texts.size() / 2);
  std::string merged;
  for (size_t i = 0; i < merges.size(); ++i) {
    const std::string_view left = texts[2 * i], right = texts[2 * i + 1];
    merged.assign(left).append(right);
    const auto find = [&](std::string_view token) {
      const auto id = vocabulary.find(token);
      if (!id) {
        fail("model.merges[{}] ('{}' '{}'): '{}' is not in model.vocab", i, left, right, token);
      }
      return static_cast<int32_t>(*id);
    };
    merges[i] = {find(left), find(right), find(merged)};
  }
  return merges;
}

void refuse_text(const Json& model, std::string_view name) {
  const Json* field = find_field(model, name, "model");
  if (field && *field != "") fail("model.{}: {} is not supported", name, field->dump());
}

}  // namespace

void Tokenizer::Impl::read_model(const TokenizerJson& parsed) {
  const Json* model = find_field(parsed.json, "model", "the file");
  if (!model) fail("field 'model' is absent");
  // Files of before 2021 have no type: a model with merges is a BPE.
  const Json* type = find_field(*model, "type", "model");
  if ((type && *type != "BPE") || (!type && !parsed.has_merges)) {
    fail("model.type is {}, only \"BPE\" is supported", type ? type->dump() : "absent");
  }
  if (!parsed.has_vocab) fail("model.vocab is absent or no object");
  if (!parsed.has_merges) fail("model.merges is absent or no array");
  refuse_text(*model, "continuing_subword_prefix");
  refuse_text(*model, "end_of_word_suffix");
  const Json* dropout = find_field(*model, "dropout", "model");
  if (dropout && *dropout != 0.0) fail("model.dropout: {} is not supported", dropout->dump());

  vocabulary.reserve(parsed.vocab_ids.size() + 1024);
  for (size_t i = 0; i < parsed.vocab_ids.size(); ++i) {
    with_context("model.vocab", [&] { vocabulary.add(parsed.vocab_ids[i], parsed.vocab_tokens[i]); });
  }
  BpeOptions options;
  options.ignore_merges = bool_field(*model, "ignore_merges", false, "model");
  options.byte_fallback = bool_field(*model, "byte_fallback", false, "model");
  options.fuse_unk = bool_field(*model, "fuse_unk", false, "model");
  if (find_field(*model, "unk_token", "model")) {
    const std::string unk = string_field(*model, "unk_token", "model");
    const auto id = vocabulary.find(unk);
    if (!id) fail("model.unk_token: '{}' is not in model.vocab", unk);
    options.unk_id = *id;
  }
  bpe = Bpe(vocabulary, read_merges(parsed.merges, vocabulary), options);
}

void Tokenizer::Impl::read_added_tokens(const Json& json) {
  std::vector<AddedToken> tokens;
  if (const Json* list = find_field(json, "added_tokens", "the file")) {
    if (!list->is_array()) fail("added_tokens: is {}, expected an array", list->type_name());
    for (size_t i = 0; i < list->size(); ++i) {
      const Json& item = (*list)[i];
      const std::string where = fmt::format("added_tokens[{}]", i);
      AddedToken token;
      token.content = string_field(item, "content", where);
      token.id = integer_field(item, "id", where);
      token.special = bool_field(item, "special", false, where);
      token.normalized = bool_field(item, "normalized", !token.special, where);
      token.single_word = bool_field(item, "single_word", false, where);
      token.lstrip = bool_field(item, "lstrip", false, where);
      token.rstrip = bool_field(item, "rstrip", false, where);
      if (token.content.empty()) fail("{}: field 'content' is empty", where);
      // The first added tokens are often in model.vocab too, with the same id.
      if (vocabulary.find(token.content) != token.id) {
        with_context(where, [&] { vocabulary.add(token.id, token.content); });
      }
      tokens.push_back(std::move(token));
    }
  }
  is_added.resize(vocabulary.end_id());
  is_special.resize(vocabulary.end_id());
  for (const AddedToken& token : tokens) {
    is_added[token.id] = true;
    is_special[token.id] = token.special;
    (token.normalized ? normalized_added : raw_added).add(token);
  }
}

void Tokenizer::Impl::read_tokenizer(const std::string& text, const std::string& where) {
  const TokenizerJson parsed = parse_tokenizer_json(text, where);
  with_context(where, [&] {
    if (!parsed.json.is_object()) fail("is {}, expected an object", parsed.json.type_name());
    read_model(parsed);
    read_added_tokens(parsed.json);
    vocabulary.make_bytes();
    check_normalizer(field_or_null(parsed.json, "normalizer"));
    pre_tokenizer = PreTokenizer::from_json(field_or_null(parsed.json, "pre_tokenizer"));
    post_processor =
        PostProcessor::from_json(field_or_null(parsed.json, "post_processor"), vocabulary);
    check_decoder(field_or_null(parsed.json, "decoder"));
  });
}

void Tokenizer::Impl::read_config(const Json& json) {
  // A token is a string or an AddedToken object.
  const auto token_id = [&](std::string_view name) -> std::optional<int64_t> {
    const Json* field = find_field(json, name, "the file");
    if (!field) return std::nullopt;
    const std::string content = field->is_object()
                                    ? string_field(*field, "content", std::string(name))
                                    : string_field(json, name, "the file");
    const auto id = vocabulary.find(content);
    if (!id) fail("{}: '{}' is not a token of tokenizer.json", name, content);
    return id;
  };
  bos = token_id("bos_token");
  eos = token_id("eos_token");
  pad = token_id("pad_token");
  add_bos = bool_field(json, "add_bos_token", false, "the file");
  if (add_bos && !bos) fail("add_bos_token is true, but there is no bos_token");
  if (const Json* length = find_field(json, "model_max_length", "the file")) {
    if (!length->is_number()) {
      fail("model_max_length: is {}, expected a number", length->type_name());
    }
    const double tokens = length->get<double>();
    if (tokens < 1) fail("model_max_length: is {}, expected at least 1", length->dump());
    if (tokens < 1e15) model_max_length = static_cast<int64_t>(tokens);
  }
}

Tokenizer Tokenizer::from_file(const std::filesystem::path& path) {
  auto impl = std::make_shared<Impl>();
  std::error_code ignored;  // a path that cannot be looked at fails at reading, with its name
  const bool folder = std::filesystem::is_directory(path, ignored);
  const std::filesystem::path file = folder ? path / "tokenizer.json" : path;
  impl->read_tokenizer(read_file(file), file.string());
  const std::filesystem::path config = path / "tokenizer_config.json";
  if (folder && std::filesystem::exists(config, ignored)) {
    const Json json = read_json_file(config);
    with_context(config.string(), [&] { impl->read_config(json); });
  }
  return Tokenizer(std::move(impl));
}

void Tokenizer::Impl::encode_text(std::string_view text, Bpe::Scratch& scratch,
                                  std::vector<int64_t>& ids) const {
  auto encode_piece = [&](std::string_view piece) {
    bpe.encode(piece, vocabulary, is_added, scratch, ids);
  };
  pre_tokenizer.split(text, encode_piece);
}

void Tokenizer::Impl::encode_with_added(std::string_view text, Bpe::Scratch& scratch,
                                        std::vector<int64_t>& ids) const {
  std::vector<TextPart> parts, inner;
  raw_added.split(text, parts);
  for (const TextPart& part : parts) {
    if (part.id != TextPart::kText) {
      ids.push_back(part.id);
      continue;
    }
    inner.clear();
    normalized_added.split(part.text, inner);
    for (const TextPart& piece : inner) {
      if (piece.id != TextPart::kText) ids.push_back(piece.id);
      else encode_text(piece.text, scratch, ids);
    }
  }
}

std::vector<int64_t> Tokenizer::encode(std::string_view text, bool add_special_tokens,
                                       bool allow_special) const {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = utf8_lossy(text);
    text = repaired;
  }
  std::vector<int64_t> ids;
  Bpe::Scratch scratch;
  const PostProcessor& around = impl_->post_processor;
  if (add_special_tokens) ids = around.before;
  if (allow_special) impl_->encode_with_added(text, scratch, ids);
  else if (!text.empty()) impl_->encode_text(text, scratch, ids);
  if (add_special_tokens) ids.insert(ids.end(), around.after.begin(), around.after.end());
  return ids;
}

std::vector<int64_t> Tokenizer::encode_prompt(std::string_view text) const {
  std::vector<int64_t> ids = encode(text, /*add_special_tokens=*/true);
  if (impl_->add_bos && (ids.empty() || ids[0] != *impl_->bos)) ids.insert(ids.begin(), *impl_->bos);
  return ids;
}

std::string Tokenizer::decode(std::span<const int64_t> ids, bool skip_special_tokens) const {
  std::string bytes;
  for (const int64_t id : ids) {
    if (!(skip_special_tokens && is_special(id))) bytes += token_bytes(id);
  }
  return is_valid_utf8(bytes) ? bytes : utf8_lossy(bytes);
}

int64_t Tokenizer::vocab_size() const { return impl_->vocabulary.size(); }

std::optional<int64_t> Tokenizer::token_to_id(std::string_view token) const {
  return impl_->vocabulary.find(token);
}

std::optional<std::string> Tokenizer::id_to_token(int64_t id) const {
  if (!impl_->vocabulary.has(id)) return std::nullopt;
  return std::string(impl_->vocabulary.text(id));
}

std::string_view Tokenizer::token_bytes(int64_t id) const { return impl_->vocabulary.bytes(id); }

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

}  // namespace dsv3
