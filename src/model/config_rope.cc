#include <cmath>

#include "base/log.h"
#include "model/config_json.h"

namespace dsv3::config_json {
namespace {

const Json kNothing = Json::object();

/// The dictionary with the rotary parameters. As in transformers, a non-empty `rope_scaling` wins
/// over `rope_parameters`.
const char* rope_key(const Section& config) {
  const Json* scaling = config.find("rope_scaling");
  if (scaling != nullptr && !(scaling->is_object() && scaling->empty())) return "rope_scaling";
  return config.find("rope_parameters") != nullptr ? "rope_parameters" : nullptr;
}

}  // namespace

RopeParameters read_rope_parameters(const Section& config, int64_t max_position_embeddings) {
  const char* key = rope_key(config);
  if (key != nullptr && !config.find(key)->is_object()) {
    config.refuse(key, "an object with rope_type");
  }
  const Section section{key == nullptr ? kNothing : *config.find(key),
                        config.prefix + (key == nullptr ? "" : std::string(key) + ".")};
  for (const auto& [name, value] : section.object.items()) {
    if (value.is_object()) {
      section.refuse(name.c_str(), "one set of rotary parameters for all layers");
    }
  }
  RopeParameters rope;
  read(section, section.find("rope_type") != nullptr ? "rope_type" : "type", rope.rope_type);
  const Section& theta_section = section.find("rope_theta") != nullptr ? section : config;
  if (theta_section.find("rope_theta") != nullptr) {
    read(theta_section, "rope_theta", rope.rope_theta);
  }
  for (const Section* s : {&config, &section}) {
    double partial = 1.0;
    if (s->find("partial_rotary_factor") != nullptr) read(*s, "partial_rotary_factor", partial);
    if (partial != 1.0) s->refuse("partial_rotary_factor", "1 (or no such field)");
  }
  if (rope.rope_type == "default") return rope;

  const bool is_yarn = rope.rope_type == "yarn";
  if (is_yarn) {
    // As in transformers, a top-level field of this name wins.
    const bool at_top = config.find("original_max_position_embeddings") != nullptr;
    read(at_top ? config : section, "original_max_position_embeddings",
         rope.original_max_position_embeddings);
    if (!rope.original_max_position_embeddings) {
      rope.original_max_position_embeddings = max_position_embeddings;
    }
    read(section, "attention_factor", rope.attention_factor);
    // Zero and null mean the default here, as in transformers.
    const auto read_beta = [&](const char* name, double& beta) {
      std::optional<double> value;
      read(section, name, value);
      if (value && *value != 0) beta = *value;
    };
    read_beta("beta_fast", rope.beta_fast);
    read_beta("beta_slow", rope.beta_slow);
    read(section, "mscale", rope.mscale);
    read(section, "truncate", rope.truncate);
  }
  // Not YaRN only: the attention's softmax scale uses it for every type but "default".
  read(section, "mscale_all_dim", rope.mscale_all_dim);
  if (section.find("factor") != nullptr) {
    read(section, "factor", rope.factor);
  } else if (is_yarn && section.has("factor") && *rope.original_max_position_embeddings > 0) {
    rope.factor = static_cast<double>(max_position_embeddings) /
                  static_cast<double>(*rope.original_max_position_embeddings);
  } else if (rope.rope_type == "linear" || rope.rope_type == "dynamic" || is_yarn) {
    fail("{}factor: missing; rope_type \"{}\" needs it", section.prefix, rope.rope_type);
  }
  return rope;
}

void write_rope_parameters(const RopeParameters& rope, Json& config) {
  Json out = Json::object();
  {
    const char* key = rope_key(Section{config, ""});
    if (key != nullptr && config[key].is_object()) out = std::move(config[key]);
  }
  out.erase("type");
  for (const char* older : {"rope_scaling", "rope_theta", "original_max_position_embeddings"}) {
    config.erase(older);
  }
  const RopeParameters defaults;
  // A key that says the default is written only where it was.
  const auto put_unless = [&](const char* key, const auto& value, const auto& absent) {
    if (value == absent) {
      const auto at = out.find(key);
      if (at == out.end() || at->is_null()) return;
    }
    put(out, key, value);
  };
  const auto put_optional = [&](const char* key, const auto& value) {
    if (value) {
      put(out, key, *value);
    } else if (out.contains(key)) {
      out[key] = nullptr;
    }
  };
  put(out, "rope_theta", rope.rope_theta);
  put(out, "rope_type", rope.rope_type);
  if (rope.rope_type != "default") {
    put(out, "factor", rope.factor);
    put_optional("mscale_all_dim", rope.mscale_all_dim);
  }
  if (rope.rope_type == "yarn") {
    put_optional("original_max_position_embeddings", rope.original_max_position_embeddings);
    put_optional("attention_factor", rope.attention_factor);
    put_unless("beta_fast", rope.beta_fast, defaults.beta_fast);
    put_unless("beta_slow", rope.beta_slow, defaults.beta_slow);
    put_optional("mscale", rope.mscale);
    put_unless("truncate", rope.truncate, defaults.truncate);
  }
  config["rope_parameters"] = std::move(out);
}

void validate_rope_parameters(const DeepseekV3Config& config, const std::string& where) {
  const RopeParameters& rope = config.rope_parameters;
  const std::string& type = rope.rope_type;
  if (type != "default" && type != "linear" && type != "dynamic" && type != "yarn") {
    fail("{}: rope_type is \"{}\", supported: \"default\", \"linear\", \"dynamic\", \"yarn\"",
         where, type);
  }
  const auto need = [&](bool fine, const char* name, double value, const char* expected) {
    if (!fine) fail("{}: rope_parameters.{} is {}, expected {}", where, name, value, expected);
  };
  const auto positive = [](double x) { return std::isfinite(x) && x > 0; };
  need(positive(rope.rope_theta), "rope_theta", rope.rope_theta, "a positive number");
  if (type == "default") return;
  need(positive(rope.factor), "factor", rope.factor, "a positive number");
  if (rope.mscale_all_dim) {
    need(std::isfinite(*rope.mscale_all_dim), "mscale_all_dim", *rope.mscale_all_dim,
         "a finite number");
  }
  if (type == "dynamic" && config.qk_rope_head_dim <= 2) {
    fail("{}: rope_type \"dynamic\" divides by qk_rope_head_dim - 2; qk_rope_head_dim is {}", where,
         config.qk_rope_head_dim);
  }
  if (type != "yarn") return;
  need(rope.rope_theta != 1, "rope_theta", rope.rope_theta,
       "not 1 (YaRN divides by its logarithm)");
  need(positive(rope.beta_fast), "beta_fast", rope.beta_fast, "a positive number");
  need(positive(rope.beta_slow), "beta_slow", rope.beta_slow, "a positive number");
  if (rope.beta_fast < rope.beta_slow) {
    warn("{}: rope_parameters.beta_fast {} is less than beta_slow {}", where, rope.beta_fast,
         rope.beta_slow);
  }
  if (rope.attention_factor) {
    need(std::isfinite(*rope.attention_factor), "attention_factor", *rope.attention_factor,
         "a finite number");
  }
  if (rope.mscale) need(std::isfinite(*rope.mscale), "mscale", *rope.mscale, "a finite number");
  if (const auto original = rope.original_max_position_embeddings; original && *original < 1) {
    fail("{}: rope_parameters.original_max_position_embeddings is {}, expected at least 1", where,
         *original);
  }
}

}  // namespace dsv3::config_json
