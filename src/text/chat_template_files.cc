#include "text/chat_template_files.h"

#include "base/file.h"
#include "base/json.h"
#include "checkpoint/gguf.h"
#include "text/json_fields.h"

namespace dsv3 {
namespace {

namespace fs = std::filesystem;

/// The special tokens that templates see, and where GGUF keeps their ids.
struct SpecialTokenName {
  const char* name;
  const char* gguf_key;
};
constexpr SpecialTokenName kSpecialTokens[] = {
    {"bos_token", "tokenizer.ggml.bos_token_id"},
    {"eos_token", "tokenizer.ggml.eos_token_id"},
    {"unk_token", "tokenizer.ggml.unknown_token_id"},
    {"sep_token", "tokenizer.ggml.seperator_token_id"},  // as it is spelled there
    {"pad_token", "tokenizer.ggml.padding_token_id"},
    {"cls_token", "tokenizer.ggml.cls_token_id"},
    {"mask_token", "tokenizer.ggml.mask_token_id"},
};

/// A "chat_template": a text, or a list of {"name", "template"}.
ChatTemplateSources sources_of(const Json& field, const std::string& where) {
  if (field.is_string()) return {{"default", field.get<std::string>()}};
  if (!field.is_array())
    fail("{}: expected a string or a list, found {}", where, field.type_name());
  ChatTemplateSources sources;
  for (const Json& entry : field) {
    if (!entry.is_object())
      fail("{}: expected objects in the list, found {}", where, entry.type_name());
    sources[string_field(entry, "name", where)] = string_field(entry, "template", where);
  }
  if (sources.empty()) fail("{}: the list is empty", where);
  return sources;
}

/// null if the folder has none.
Json read_tokenizer_config(const fs::path& folder) {
  const fs::path path = folder / "tokenizer_config.json";
  if (!fs::exists(path)) return Json();
  Json config = read_json_file(path);
  if (!config.is_object()) {
    fail("{}: is {}, expected an object", path.string(), config.type_name());
  }
  return config;
}

}  // namespace

ChatTemplateSources read_chat_template_sources(const fs::path& model) {
  if (is_gguf_file(model)) return chat_template_sources(read_gguf_metadata(model));
  ChatTemplateSources sources;
  if (const auto path = model / "chat_template.jinja"; fs::exists(path)) {
    sources["default"] = read_file(path);
  }
  if (const auto more = model / "additional_chat_templates"; fs::is_directory(more)) {
    for (const auto& entry : fs::directory_iterator(more)) {
      if (entry.path().extension() == ".jinja") {
        sources[entry.path().stem().string()] = read_file(entry.path());
      }
    }
  }
  if (!sources.empty()) return sources;
  if (const auto path = model / "chat_template.json"; fs::exists(path)) {
    const Json json = read_json_file(path);
    const std::string where = path.string();
    const Json* field = json.is_object() ? find_field(json, "chat_template", where) : nullptr;
    if (!field) fail("{}: has no 'chat_template'", where);
    return sources_of(*field, where + ": chat_template");
  }
  const Json config = read_tokenizer_config(model);
  const std::string where = (model / "tokenizer_config.json").string();
  const Json* field = config.is_null() ? nullptr : find_field(config, "chat_template", where);
  if (!field) return {};
  return sources_of(*field, where + ": chat_template");
}

ChatTemplateSources chat_template_sources(const GgufMetadata& metadata) {
  ChatTemplateSources sources;
  if (const std::string* text = metadata.find_string(kGgufChatTemplateKey)) {
    sources["default"] = *text;
  }
  if (const GgufStrings* names = metadata.find_strings(kGgufChatTemplateNamesKey)) {
    for (size_t i = 0; i < names->size(); ++i) {
      const std::string name((*names)[i]);
      sources[name] = metadata.string(kGgufChatTemplatePrefix + name);
    }
  }
  return sources;
}

SpecialTokens special_tokens(const GgufMetadata& metadata) {
  SpecialTokens tokens;
  for (const auto& [name, key] : kSpecialTokens) {
    const auto id = metadata.find_integer(key);
    if (!id) continue;
    const GgufStrings& texts = metadata.strings("tokenizer.ggml.tokens");
    if (*id < 0 || static_cast<size_t>(*id) >= texts.size()) {
      fail("{}: key '{}' is {}, but there are {} tokens", metadata.where(), key, *id, texts.size());
    }
    tokens.emplace_back(name, texts[static_cast<size_t>(*id)]);
  }
  return tokens;
}

SpecialTokens read_special_tokens(const fs::path& model) {
  if (is_gguf_file(model)) return special_tokens(read_gguf_metadata(model));
  const Json config = read_tokenizer_config(model);
  const std::string where = (model / "tokenizer_config.json").string();
  SpecialTokens tokens;
  if (config.is_null()) return tokens;
  for (const auto& [name, key] : kSpecialTokens) {
    const Json* field = find_field(config, name, where);
    if (!field) continue;
    if (field->is_object()) {
      tokens.emplace_back(name, string_field(*field, "content", where + ": " + name));
    } else if (field->is_string()) {
      tokens.emplace_back(name, field->get<std::string>());
    } else {
      fail("{}: {}: expected a string or an object, found {}", where, name, field->type_name());
    }
  }
  return tokens;
}

}  // namespace dsv3
