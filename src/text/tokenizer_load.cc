// Reading the files that a tokenizer is made of.

#include <fmt/format.h>

#include <set>

#include "text/json_fields.h"
#include "text/tokenizer_impl.h"
#include "text/tokenizer_json.h"

namespace dsv3 {
namespace {

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
    merges[i] = {find(left), find(right), find(merged), static_cast<int32_t>(i)};
  }
  return merges;
}

void refuse_text(const Json& model, std::string_view name) {
  const Json* field = find_field(model, name, "model");
  if (field && *field != "") fail("model.{}: {} is not supported", name, field->dump());
}

Bpe read_model(const TokenizerJson& parsed, bool byte_level, Vocabulary& vocabulary) {
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
    with_context("model.vocab",
                 [&] { vocabulary.add(parsed.vocab_ids[i], parsed.vocab_tokens[i]); });
  }
  vocabulary.end_model();
  BpeOptions options;
  options.byte_level = byte_level;
  options.ignore_merges = bool_field(*model, "ignore_merges", false, "model");
  options.byte_fallback = bool_field(*model, "byte_fallback", false, "model");
  options.fuse_unk = bool_field(*model, "fuse_unk", false, "model");
  if (find_field(*model, "unk_token", "model")) {
    const std::string unk = string_field(*model, "unk_token", "model");
    const auto id = vocabulary.find(unk);
    if (!id) fail("model.unk_token: '{}' is not in model.vocab", unk);
    options.unk_id = *id;
  }
  return Bpe(vocabulary, read_merges(parsed.merges, vocabulary), options);
}

std::vector<AddedToken> read_added_tokens(const Json& json) {
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
      tokens.push_back(std::move(token));
    }
  }
  return tokens;
}

}  // namespace

void Tokenizer::Impl::set_added_tokens(const std::vector<AddedToken>& tokens) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    // The first added tokens are often in the model's vocabulary too, with the same id.
    if (vocabulary.find(tokens[i].content) == tokens[i].id) continue;
    with_context(fmt::format("added_tokens[{}]", i),
                 [&] { vocabulary.add(tokens[i].id, tokens[i].content); });
  }
  is_added.resize(vocabulary.end_id());
  is_special.resize(vocabulary.end_id());
  std::set<std::string_view> specials;
  for (const AddedToken& token : tokens) {
    if (token.special) specials.insert(token.content);
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    AddedToken token = tokens[i];
    if (token.normalized) {
      // Looked for in normalised text, so its own text is normalised too; it is decoded to that,
      // and special only if that is the text of a special token.
      size_t front = 0;
      token.content = normalizer.apply(token.content, front);
      if (token.content != tokens[i].content) normalized_texts[token.id] = token.content;
    }
    is_added[token.id] = true;
    is_special[token.id] = specials.contains(token.content);
    // A token of which nothing is left is never found.
    if (!token.content.empty()) (token.normalized ? normalized_added : raw_added).add(token);
  }
}

void Tokenizer::Impl::make_token_bytes() {
  for (int64_t id = 0; id < vocabulary.end_id(); ++id) {
    token_bytes.push_back(vocabulary.has(id) ? decoder.token_bytes(text_of(id)) : std::string());
  }
}

void Tokenizer::Impl::read_tokenizer_json(const std::string& text, const std::string& where) {
  const TokenizerJson parsed = parse_tokenizer_json(text, where);
  with_context(where, [&] {
    if (!parsed.json.is_object()) fail("is {}, expected an object", parsed.json.type_name());
    normalizer = Normalizer::from_json(field_or_null(parsed.json, "normalizer"));
    pre_tokenizer = PreTokenizer::from_json(field_or_null(parsed.json, "pre_tokenizer"));
    bpe = read_model(parsed, pre_tokenizer.byte_level(), vocabulary);
    set_added_tokens(read_added_tokens(parsed.json));
    post_processor =
        PostProcessor::from_json(field_or_null(parsed.json, "post_processor"), vocabulary);
    decoder = Decoder::from_json(field_or_null(parsed.json, "decoder"));
    make_token_bytes();
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
    if (!id) fail("{}: '{}' is not a token of the vocabulary", name, content);
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

}  // namespace dsv3
