#include <algorithm>
#include <cmath>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "dsv3/generation.h"

namespace dsv3 {
namespace {

/// Ids that JSON gives as one number or as a list, like Hugging Face's eos_token_id.
struct IdOrList {
  std::vector<int64_t>& ids;
};

/// Every field once, for reading and writing.
template <typename Visitor>
void visit_fields(GenerationConfig& c, Visitor&& visit) {
  visit("max_length", c.max_length);
  visit("max_new_tokens", c.max_new_tokens);
  visit("min_length", c.min_length);
  visit("min_new_tokens", c.min_new_tokens);
  visit("max_time", c.max_time);
  visit("stop_strings", c.stop_strings);
  visit("do_sample", c.do_sample);
  visit("num_beams", c.num_beams);
  visit("num_return_sequences", c.num_return_sequences);
  visit("length_penalty", c.length_penalty);
  visit("early_stopping", c.early_stopping);
  visit("seed", c.seed);
  visit("temperature", c.temperature);
  visit("top_k", c.top_k);
  visit("top_p", c.top_p);
  visit("min_p", c.min_p);
  visit("top_h", c.top_h);
  visit("typical_p", c.typical_p);
  visit("epsilon_cutoff", c.epsilon_cutoff);
  visit("eta_cutoff", c.eta_cutoff);
  visit("repetition_penalty", c.repetition_penalty);
  visit("encoder_repetition_penalty", c.encoder_repetition_penalty);
  visit("presence_penalty", c.presence_penalty);
  visit("frequency_penalty", c.frequency_penalty);
  visit("no_repeat_ngram_size", c.no_repeat_ngram_size);
  visit("encoder_no_repeat_ngram_size", c.encoder_no_repeat_ngram_size);
  visit("bad_words_ids", c.bad_words_ids);
  visit("logit_bias", c.logit_bias);
  visit("sequence_bias", c.sequence_bias);
  visit("suppress_tokens", c.suppress_tokens);
  visit("begin_suppress_tokens", c.begin_suppress_tokens);
  visit("forced_bos_token_id", c.forced_bos_token_id);
  visit("forced_eos_token_id", IdOrList{c.forced_eos_token_id});
  visit("exponential_decay_length_penalty", c.exponential_decay_length_penalty);
  visit("remove_invalid_values", c.remove_invalid_values);
  visit("renormalize_logits", c.renormalize_logits);
  visit("pad_token_id", c.pad_token_id);
  visit("bos_token_id", c.bos_token_id);
  visit("eos_token_id", IdOrList{c.eos_token_id});
  visit("logprobs", c.logprobs);
}

/// Fields of Hugging Face that cannot change which tokens come out here.
constexpr const char* kIgnoredKeys[] = {"use_cache",
                                        "cache_implementation",
                                        "cache_config",
                                        "output_attentions",
                                        "output_hidden_states",
                                        "output_scores",
                                        "output_logits",
                                        "return_dict_in_generate",
                                        "disable_compile",
                                        "compile_config",
                                        "is_assistant",
                                        "num_assistant_tokens",
                                        "num_assistant_tokens_schedule",
                                        "assistant_confidence_threshold",
                                        "assistant_lookbehind",
                                        "target_lookbehind",
                                        "max_matching_ngram_size",
                                        "prefill_chunk_size",
                                        "continuous_batching_config",
                                        "decoder_start_token_id",
                                        "transformers_version",
                                        "_from_model_config",
                                        "_commit_hash"};

/// Fields of Hugging Face that would change the tokens and that we do not have: refused unless null
/// or at the value that switches them off.
struct UnsupportedKey {
  const char* name;
  const char* off;
};
constexpr UnsupportedKey kUnsupportedKeys[] = {
    {"guidance_scale", "1.0"},        {"penalty_alpha", "0.0"},
    {"dola_layers", "null"},          {"diversity_penalty", "0.0"},
    {"num_beam_groups", "1"},         {"constraints", "null"},
    {"force_words_ids", "null"},      {"watermarking_config", "null"},
    {"token_healing", "false"},       {"low_memory", "false"},
    {"assistant_early_exit", "null"}, {"prompt_lookup_num_tokens", "null"}};

/// One value of JSON and how to name it in an error.
struct JsonField {
  const Json& value;
  const std::string& where;
  const char* name;

  [[noreturn]] void wrong_type(const char* expected) const {
    fail("{}: {}: expected {}, found {}", where, name, expected, value.dump());
  }
};

int64_t read_integer(const JsonField& f, const Json& value, const char* expected) {
  if (!value.is_number_integer()) f.wrong_type(expected);
  return value.get<int64_t>();
}

std::vector<int64_t> read_ids(const JsonField& f, const Json& value, const char* expected) {
  if (!value.is_array()) f.wrong_type(expected);
  std::vector<int64_t> ids;
  for (const Json& id : value) ids.push_back(read_integer(f, id, expected));
  return ids;
}

void read(const JsonField& f, bool& out) {
  if (!f.value.is_boolean()) f.wrong_type("true or false");
  out = f.value.get<bool>();
}
void read(const JsonField& f, int64_t& out) { out = read_integer(f, f.value, "an integer"); }
void read(const JsonField& f, uint64_t& out) {
  if (!f.value.is_number_unsigned()) f.wrong_type("an integer from 0 to 2^64 - 1");
  out = f.value.get<uint64_t>();
}
void read(const JsonField& f, double& out) {
  if (!f.value.is_number()) f.wrong_type("a number");
  out = f.value.get<double>();
}
template <typename T>
void read(const JsonField& f, std::optional<T>& out) {
  read(f, out.emplace());
}
void read(const JsonField& f, EarlyStopping& out) {
  if (f.value == "never") {
    out = EarlyStopping::kNever;
  } else if (f.value.is_boolean()) {
    out = f.value.get<bool>() ? EarlyStopping::kTrue : EarlyStopping::kFalse;
  } else {
    f.wrong_type("true, false or \"never\"");
  }
}
void read(const JsonField& f, std::vector<std::string>& out) {
  const char* expected = "a string or a list of strings";
  out.clear();
  if (f.value.is_string()) {
    out.push_back(f.value.get<std::string>());
    return;
  }
  if (!f.value.is_array()) f.wrong_type(expected);
  for (const Json& s : f.value) {
    if (!s.is_string()) f.wrong_type(expected);
    out.push_back(s.get<std::string>());
  }
}
void read(const JsonField& f, std::vector<int64_t>& out) {
  out = read_ids(f, f.value, "a list of token ids");
}
void read(const JsonField& f, IdOrList out) {
  const char* expected = "a token id or a list of token ids";
  if (f.value.is_number_integer()) {
    out.ids = {f.value.get<int64_t>()};
  } else {
    out.ids = read_ids(f, f.value, expected);
  }
}
void read(const JsonField& f, std::vector<std::vector<int64_t>>& out) {
  const char* expected = "a list of lists of token ids";
  if (!f.value.is_array()) f.wrong_type(expected);
  out.clear();
  for (const Json& ids : f.value) out.push_back(read_ids(f, ids, expected));
}
void read(const JsonField& f, std::map<int64_t, double>& out) {
  const char* expected = "an object of token id and number, like {\"17\": -2.5}";
  if (!f.value.is_object()) f.wrong_type(expected);
  out.clear();
  for (const auto& [key, bias] : f.value.items()) {
    const bool digits =
        !key.empty() && key.size() < 19 && key.find_first_not_of("0123456789") == key.npos;
    if (!digits || !bias.is_number()) f.wrong_type(expected);
    out[std::stoll(key)] = bias.get<double>();
  }
}
void read(const JsonField& f, std::vector<std::pair<std::vector<int64_t>, double>>& out) {
  const char* expected = "a list of pairs of token ids and number, like [[[17, 4], -2.5]]";
  if (!f.value.is_array()) f.wrong_type(expected);
  out.clear();
  for (const Json& pair : f.value) {
    if (!pair.is_array() || pair.size() != 2 || !pair[1].is_number()) f.wrong_type(expected);
    out.emplace_back(read_ids(f, pair[0], expected), pair[1].get<double>());
  }
}
void read(const JsonField& f, std::optional<std::pair<int64_t, double>>& out) {
  const char* expected = "a pair of integer and number, like [10, 1.1]";
  if (!f.value.is_array() || f.value.size() != 2 || !f.value[1].is_number()) f.wrong_type(expected);
  out.emplace(read_integer(f, f.value[0], expected), f.value[1].get<double>());
}

template <typename T>
Json written(const T& value) {
  return value;
}
template <typename T>
Json written(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}
Json written(EarlyStopping value) {
  return value == EarlyStopping::kNever ? Json("never") : Json(value == EarlyStopping::kTrue);
}
Json written(IdOrList value) {
  if (value.ids.empty()) return nullptr;
  return value.ids.size() == 1 ? Json(value.ids[0]) : Json(value.ids);
}
Json written(const std::map<int64_t, double>& value) {
  Json object = Json::object();
  for (const auto& [id, bias] : value) object[std::to_string(id)] = bias;
  return object;
}
Json written(const std::optional<std::pair<int64_t, double>>& value) {
  return value ? Json::array({value->first, value->second}) : Json(nullptr);
}

Json parse_object(const std::string& text, const std::string& where) {
  Json json = parse_json(text, where);
  if (!json.is_object()) fail("{}: expected a JSON object, found {}", where, json.type_name());
  return json;
}

void refuse_unsupported(const Json& json, const std::string& where) {
  for (const auto& [name, off] : kUnsupportedKeys) {
    const auto it = json.find(name);
    if (it == json.end() || it->is_null() || *it == Json::parse(off)) continue;
    fail("{}: {}: {} is not supported; leave it out", where, name, it->dump());
  }
}

bool is_listed(const std::string& key) {
  const auto same = [&](const char* name) { return key == name; };
  return std::any_of(std::begin(kIgnoredKeys), std::end(kIgnoredKeys), same) ||
         std::any_of(std::begin(kUnsupportedKeys), std::end(kUnsupportedKeys),
                     [&](const UnsupportedKey& k) { return key == k.name; });
}

}  // namespace

GenerationConfig GenerationConfig::from_json(const std::string& text, const std::string& where) {
  const Json json = parse_object(text, where);
  refuse_unsupported(json, where);
  GenerationConfig config;
  visit_fields(config, [&](const char* name, auto&& field) {
    const auto it = json.find(name);
    if (it != json.end() && !it->is_null()) read(JsonField{*it, where, name}, field);
  });
  config.original_json = text;
  return config;
}

GenerationConfig GenerationConfig::from_folder(const std::filesystem::path& folder,
                                               const DeepseekV3Config& config) {
  const std::filesystem::path file = folder / "generation_config.json";
  GenerationConfig result;
  if (std::filesystem::exists(file)) result = from_json(read_file(file), file.string());
  result.fill_special_tokens(config);
  return result;
}

void GenerationConfig::apply(const std::string& kwargs_json, const std::string& where) {
  Json json = parse_object(kwargs_json, where);
  refuse_unsupported(json, where);
  GenerationConfig off;  // what null means: the defaults do nothing, but for top_k
  off.top_k = 0;
  Json off_values;
  visit_fields(off, [&](const char* name, auto&& field) { off_values[name] = written(field); });
  visit_fields(*this, [&](const char* name, auto&& field) {
    const auto it = json.find(name);
    if (it == json.end()) return;
    const Json& value = it->is_null() ? off_values[name] : *it;
    if (value.is_null()) {
      if constexpr (requires { field.reset(); }) {
        field.reset();
      } else if constexpr (requires { field.ids.clear(); }) {
        field.ids.clear();
      }
    } else {
      read(JsonField{value, where, name}, field);
    }
    json.erase(name);
  });
  for (const auto& [key, value] : json.items()) {
    if (!is_listed(key)) fail("{}: unknown argument '{}' (value {})", where, key, value.dump());
  }
}

void GenerationConfig::fill_special_tokens(const DeepseekV3Config& config) {
  if (!bos_token_id) bos_token_id = config.bos_token_id;
  if (!pad_token_id) pad_token_id = config.pad_token_id;
  if (eos_token_id.empty()) eos_token_id = config.eos_token_id;
}

std::string GenerationConfig::to_json() const {
  Json json =
      original_json.empty() ? Json::object() : parse_object(original_json, "generation config");
  GenerationConfig defaults, self = *this;
  Json default_values;
  visit_fields(defaults,
               [&](const char* name, auto&& field) { default_values[name] = written(field); });
  visit_fields(self, [&](const char* name, auto&& field) {
    Json value = written(field);
    const bool is_default = value == default_values[name];
    // A key that is there keeps its place; one that says "default" by null stays as it is.
    if (json.contains(name) ? !(is_default && json[name].is_null()) : !is_default)
      json[name] = value;
  });
  return json.dump(2) + "\n";
}

void GenerationConfig::validate(const std::string& where) const {
  const auto require = [&](bool good, const char* name, const auto& value, const char* allowed) {
    if (!good) fail("{}: {} is {}; it must be {}", where, name, value, allowed);
  };
  const auto require_optional = [&](const auto& value, auto good, const char* name,
                                    const char* allowed) {
    if (value && !good(*value)) fail("{}: {} is {}; it must be {}", where, name, *value, allowed);
  };
  const auto positive = [](auto v) { return v > 0; };
  const auto not_negative = [](auto v) { return v >= 0; };

  require_optional(max_length, positive, "max_length", "at least 1");
  require_optional(max_new_tokens, positive, "max_new_tokens", "at least 1");
  require(min_length >= 0, "min_length", min_length, "at least 0");
  require_optional(min_new_tokens, not_negative, "min_new_tokens", "at least 0");
  require_optional(max_time, positive, "max_time", "above 0 seconds");
  require(num_beams >= 1, "num_beams", num_beams, "at least 1");
  require(num_return_sequences >= 1, "num_return_sequences", num_return_sequences, "at least 1");
  if (num_beams > 1) {
    require(num_return_sequences <= num_beams, "num_return_sequences", num_return_sequences,
            "at most num_beams");
  } else if (!do_sample) {
    require(num_return_sequences == 1, "num_return_sequences", num_return_sequences,
            "1 in greedy search: sample (do_sample) or search with beams (num_beams) for more");
  }
  require(std::isfinite(length_penalty), "length_penalty", length_penalty, "a finite number");

  if (do_sample) {
    require(temperature > 0 && std::isfinite(temperature), "temperature", temperature,
            "above 0 when sampling; for the most likely token set do_sample to false");
  }
  require(top_k >= 0, "top_k", top_k, "at least 1, or 0 for all tokens");
  require(top_p > 0 && top_p <= 1, "top_p", top_p, "above 0 and at most 1");
  require_optional(
      min_p, [](double v) { return v >= 0 && v <= 1; }, "min_p", "from 0 to 1");
  require_optional(
      top_h, [](double v) { return v > 0 && v <= 1; }, "top_h", "above 0 and at most 1");
  require(typical_p > 0 && typical_p <= 1, "typical_p", typical_p, "above 0 and at most 1");
  require(epsilon_cutoff >= 0 && epsilon_cutoff < 1, "epsilon_cutoff", epsilon_cutoff,
          "at least 0 and below 1");
  require(eta_cutoff >= 0 && eta_cutoff < 1, "eta_cutoff", eta_cutoff, "at least 0 and below 1");

  const auto finite_positive = [](double v) { return v > 0 && std::isfinite(v); };
  require(finite_positive(repetition_penalty), "repetition_penalty", repetition_penalty, "above 0");
  require(finite_positive(encoder_repetition_penalty), "encoder_repetition_penalty",
          encoder_repetition_penalty, "above 0");
  require(std::isfinite(presence_penalty), "presence_penalty", presence_penalty, "a finite number");
  require(std::isfinite(frequency_penalty), "frequency_penalty", frequency_penalty,
          "a finite number");
  require(no_repeat_ngram_size >= 0, "no_repeat_ngram_size", no_repeat_ngram_size, "at least 0");
  require(encoder_no_repeat_ngram_size >= 0, "encoder_no_repeat_ngram_size",
          encoder_no_repeat_ngram_size, "at least 0");
  for (const auto& [id, bias] : logit_bias) {
    require(id >= 0, "token of logit_bias", id, "at least 0");
    require(!std::isnan(bias) && bias < INFINITY, "logit_bias", bias, "a number below infinity");
  }
  const auto require_sequence = [&](const std::vector<int64_t>& ids, const char* name) {
    if (ids.empty()) fail("{}: {} has an empty list of tokens", where, name);
    for (const int64_t id : ids) require(id >= 0, name, id, "token ids of at least 0");
  };
  for (const auto& ids : bad_words_ids) require_sequence(ids, "bad_words_ids");
  for (const auto& [ids, bias] : sequence_bias) {
    require_sequence(ids, "sequence_bias");
    require(!std::isnan(bias) && bias < INFINITY, "sequence_bias", bias, "a number below infinity");
  }
  require_optional(forced_bos_token_id, not_negative, "forced_bos_token_id", "at least 0");
  for (const int64_t id : forced_eos_token_id)
    require(id >= 0, "forced_eos_token_id", id, "at least 0");
  if (exponential_decay_length_penalty) {
    const double factor = exponential_decay_length_penalty->second;
    require(finite_positive(factor), "factor of exponential_decay_length_penalty", factor,
            "above 0");
  }
  for (const std::string& s : stop_strings) {
    if (s.empty()) fail("{}: stop_strings has an empty string", where);
  }
  require_optional(logprobs, not_negative, "logprobs", "at least 0");
}

std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kStopString:
      return "stop_string";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "";
}

}  // namespace dsv3
