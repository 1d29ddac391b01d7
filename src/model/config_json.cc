#include "model/config_json.h"

#include <charconv>

#include "base/log.h"

namespace dsv3 {
namespace config_json {

const Json* Section::find(const char* key) const {
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

void Section::refuse(const char* key, const std::string& expected) const {
  const auto at = object.find(key);
  std::string found = at == object.end() ? "nothing" : at->dump();
  if (found.size() > 100) found = found.substr(0, 97) + "...";
  fail("{}{}: expected {}, found {}", prefix, key, expected, found);
}

namespace {

bool fits(const Json& value) {
  if (!value.is_number_integer()) return false;
  return !value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX;
}

template <typename T>
void read_optional(const Section& section, const char* key, std::optional<T>& out) {
  if (!section.has(key)) return;
  if (section.find(key) == nullptr) {
    out.reset();
    return;
  }
  T value{};
  read(section, key, value);
  out = value;
}

}  // namespace

void read(const Section& section, const char* key, int64_t& out) {
  if (!section.has(key)) return;
  const Json* value = section.find(key);
  if (value == nullptr || !fits(*value)) section.refuse(key, "a whole number");
  out = value->get<int64_t>();
}

void read(const Section& section, const char* key, double& out) {
  if (!section.has(key)) return;
  const Json* value = section.find(key);
  if (value == nullptr || !value->is_number()) section.refuse(key, "a number");
  out = value->get<double>();
}

void read(const Section& section, const char* key, bool& out) {
  if (!section.has(key)) return;
  const Json* value = section.find(key);
  if (value != nullptr && !value->is_boolean()) section.refuse(key, "true or false");
  out = value != nullptr && value->get<bool>();
}

void read(const Section& section, const char* key, std::string& out) {
  const Json* value = section.find(key);
  if (value == nullptr) return;
  if (!value->is_string()) section.refuse(key, "a string");
  out = value->get<std::string>();
}

void read(const Section& section, const char* key, std::optional<int64_t>& out) {
  read_optional(section, key, out);
}

void read(const Section& section, const char* key, std::optional<double>& out) {
  read_optional(section, key, out);
}

void read(const Section& section, const char* key, std::vector<std::string>& out) {
  const Json* value = section.find(key);
  if (value == nullptr) return;
  if (!value->is_array()) section.refuse(key, "a list of strings");
  out.clear();
  for (const Json& item : *value) {
    if (!item.is_string()) section.refuse(key, "a list of strings");
    out.push_back(item.get<std::string>());
  }
}

void put(Json& object, const char* key, Json value) {
  const auto at = object.find(key);
  if (at == object.end()) {
    object[key] = std::move(value);
  } else if (*at != value) {
    *at = std::move(value);
  }
}

}  // namespace config_json

namespace {

using config_json::put;
using config_json::read;
using config_json::Section;

/// Moonshot's Kimi-K2 is this architecture under a name of its own.
bool is_our_model_type(const std::string& type) {
  return type == "deepseek_v3" || type == "kimi_k2";
}

void check_model_type(const Section& config, const std::vector<std::string>& architectures) {
  std::string type;
  read(config, "model_type", type);
  if (is_our_model_type(type)) return;
  if (type.empty()) {
    for (const std::string& name : architectures) {
      if (name.starts_with("DeepseekV3")) return;
    }
    fail(
        "{}model_type: missing, expected \"deepseek_v3\"; `architectures` names no DeepseekV3 "
        "class either",
        config.prefix);
  }
  std::string why;
  if (type == "deepseek_v2") {
    why = "; DeepSeek-V2 routes tokens by softmax and another group rule";
  } else if (type == "deepseek_v32") {
    why = "; DeepSeek-V3.2 has sparse attention with an indexer";
  } else if (config.find("text_config") != nullptr) {
    why = "; it wraps a language model, whose own config.json is the field `text_config`";
  }
  config.refuse("model_type", "\"deepseek_v3\" (or \"kimi_k2\", the same architecture)" + why);
}

void read_eos(const Section& config, std::vector<int64_t>& out) {
  if (!config.has("eos_token_id")) return;
  out.clear();
  const Json* value = config.find("eos_token_id");
  if (value == nullptr) return;
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& id : list) {
    if (!id.is_number_integer()) config.refuse("eos_token_id", "a token id or a list of them");
    out.push_back(id.get<int64_t>());
  }
}

void read_dtype(const Section& config, std::string& out) {
  read(config, config.find("dtype") != nullptr ? "dtype" : "torch_dtype", out);
  if (out.starts_with("torch.")) out.erase(0, 6);
}

void read_labels(const Section& config, DeepseekV3Config& c) {
  if (const Json* labels = config.find("id2label")) {
    if (!labels->is_object()) config.refuse("id2label", "an object from number to label");
    for (const auto& [key, label] : labels->items()) {
      int64_t id = 0;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      if (error != std::errc() || end != key.data() + key.size() || !label.is_string()) {
        config.refuse("id2label", "an object from number to label");
      }
      c.id2label[id] = label.get<std::string>();
    }
    c.num_labels = static_cast<int64_t>(c.id2label.size());
  }
  if (const Json* ids = config.find("label2id")) {
    if (!ids->is_object()) config.refuse("label2id", "an object from label to number");
    for (const auto& [label, id] : ids->items()) {
      if (!id.is_number_integer()) config.refuse("label2id", "an object from label to number");
      c.label2id[label] = id.get<int64_t>();
    }
  }
  if (config.find("num_labels") == nullptr) return;
  int64_t count = 0;
  read(config, "num_labels", count);
  if (!c.id2label.empty() && count != c.num_labels) {
    config.refuse("num_labels", fmt::format("{}, the number of labels in id2label", c.num_labels));
  }
  c.num_labels = count;
}

void read_quantization(const Section& config, std::optional<QuantizationConfig>& out) {
  const Json* object = config.find("quantization_config");
  if (object == nullptr) return;
  if (!object->is_object()) config.refuse("quantization_config", "an object with quant_method");
  const Section section{*object, config.prefix + "quantization_config."};
  if (section.find("quant_method") == nullptr) section.refuse("quant_method", "\"fp8\"");
  QuantizationConfig q;
  read(section, "quant_method", q.quant_method);
  // Before the rest, whose fields mean something else for other methods.
  if (q.quant_method != "fp8") section.refuse("quant_method", "\"fp8\"");
  read(section, "fmt", q.fmt);
  read(section, "activation_scheme", q.activation_scheme);
  read(section, "scale_fmt", q.scale_fmt);
  if (section.has("weight_block_size")) {
    const Json* block = section.find("weight_block_size");
    const auto is_size = [](const Json& x) { return x.is_number_integer(); };
    if (block == nullptr || !block->is_array() || block->size() != 2 || !is_size((*block)[0]) ||
        !is_size((*block)[1])) {
      section.refuse("weight_block_size", "two positive numbers, such as [128, 128]");
    }
    q.block_rows = (*block)[0].get<int64_t>();
    q.block_cols = (*block)[1].get<int64_t>();
  }
  out = q;
}

/// Values that follow from others; a file that contradicts them was made for another model.
void check_derived(const Section& config, const DeepseekV3Config& c) {
  const auto check = [&](const char* key, int64_t expected, const char* formula) {
    if (config.find(key) == nullptr) return;
    int64_t found = 0;
    read(config, key, found);
    if (found != expected) config.refuse(key, fmt::format("{} ({})", expected, formula));
  };
  check("head_dim", c.qk_rope_head_dim, "qk_rope_head_dim");
  check("qk_head_dim", c.qk_head_dim(), "qk_nope_head_dim + qk_rope_head_dim");
}

}  // namespace

DeepseekV3Config DeepseekV3Config::from_json(const std::string& text, const std::string& where) {
  Json json = parse_json(text, where);
  if (!json.is_object()) fail("{}: expected a JSON object, found {}", where, json.type_name());
  DeepseekV3Config c;
  c.original_json = text;

  // transformers takes null for "the default" in these, and for "as many as heads" in the first.
  for (const char* key : {"num_key_value_heads", "attention_dropout", "pretraining_tp",
                          "moe_layer_freq", "num_nextn_predict_layers"}) {
    if (const auto at = json.find(key); at != json.end() && at->is_null()) json.erase(at);
  }
  const Section config{json, where + ": "};
  if (const Json* experts = config.find("num_local_experts")) {
    const Json* same = config.find("n_routed_experts");
    if (same != nullptr && *same != *experts) {
      config.refuse("num_local_experts",
                    fmt::format("n_routed_experts, which is {}", same->dump()));
    }
    put(json, "n_routed_experts", Json(*experts));
  }

  read(config, "architectures", c.architectures);
  check_model_type(config, c.architectures);
  const auto read_field = [&](const char* key, auto& value) { read(config, key, value); };
  config_json::visit_fields(c, read_field);
  config_json::visit_optional_fields(c, read_field);
  // MLA has one key and value per head; where the file does not say so, there is nothing to check.
  if (!config.has("num_key_value_heads")) c.num_key_value_heads = c.num_attention_heads;
  read_eos(config, c.eos_token_id);
  read_dtype(config, c.dtype);
  read_labels(config, c);
  read_quantization(config, c.quantization_config);
  c.rope_parameters = config_json::read_rope_parameters(config, c.max_position_embeddings);
  c.validate(where);  // first: sums of sizes out of any range would overflow
  check_derived(config, c);
  return c;
}

std::string DeepseekV3Config::to_json() const {
  Json json = original_json.empty() ? Json::object() : parse_json(original_json, "original_json");
  const DeepseekV3Config defaults;

  std::string type;
  read(Section{json, ""}, "model_type", type);
  if (!is_our_model_type(type)) json["model_type"] = "deepseek_v3";
  const auto put_value = [&](const char* key, const auto& value) {
    if constexpr (requires { value.has_value(); }) {
      put(json, key, value ? Json(*value) : Json());
    } else {
      put(json, key, value);
    }
  };
  config_json::visit_fields(*this, put_value);
  // Without its old value, a field at its default is not worth a line.
  Json scratch = Json::object();
  config_json::visit_optional_fields(
      defaults, [&](const char* key, const auto& value) { scratch[key] = value; });
  config_json::visit_optional_fields(*this, [&](const char* key, const auto& value) {
    const auto at = json.find(key);
    const bool is_default = scratch[key] == Json(value);
    if (is_default && (at == json.end() || at->is_null())) return;
    put(json, key, value);
  });

  if (eos_token_id.empty()) {
    put(json, "eos_token_id", nullptr);
  } else if (eos_token_id.size() > 1 || json.value("eos_token_id", Json()).is_array()) {
    put(json, "eos_token_id", eos_token_id);
  } else {
    put(json, "eos_token_id", eos_token_id[0]);
  }
  json.erase("torch_dtype");
  if (!dtype.empty()) {
    put(json, "dtype", dtype);
  } else {
    json.erase("dtype");
  }
  json.erase("num_local_experts");
  put(json, "head_dim", qk_rope_head_dim);
  put(json, "qk_head_dim", qk_head_dim());
  config_json::write_rope_parameters(rope_parameters, json);

  json.erase("num_labels");
  if (!id2label.empty() || num_labels != defaults.num_labels) {
    Json labels = Json::object();
    Json ids = Json::object();
    for (int64_t i = 0; i < num_labels; ++i) {
      const std::string label = fmt::format("LABEL_{}", i);
      if (id2label.empty()) labels[std::to_string(i)] = label;
      ids[label] = i;
    }
    for (const auto& [id, label] : id2label) labels[std::to_string(id)] = label;
    put(json, "id2label", std::move(labels));
    if (id2label.empty() && label2id.empty()) put(json, "label2id", std::move(ids));
  } else {
    json.erase("id2label");
  }
  if (!label2id.empty()) put(json, "label2id", label2id);

  if (quantization_config) {
    Json& q = json["quantization_config"];
    if (!q.is_object()) q = Json::object();
    put(q, "quant_method", quantization_config->quant_method);
    put(q, "fmt", quantization_config->fmt);
    put(q, "activation_scheme", quantization_config->activation_scheme);
    put(q, "weight_block_size",
        Json::array({quantization_config->block_rows, quantization_config->block_cols}));
    if (!quantization_config->scale_fmt.empty() || q.contains("scale_fmt")) {
      put(q, "scale_fmt", quantization_config->scale_fmt);
    }
  } else {
    json.erase("quantization_config");
  }
  // Sorted keys, two spaces and ASCII only, as transformers writes it.
  return nlohmann::json(std::move(json)).dump(2, ' ', true) + "\n";
}

}  // namespace dsv3
