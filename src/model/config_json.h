#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "dsv3/config.h"

// What the readers and writers of config.json share. Private to src/model/config*.cc.
namespace dsv3::config_json {

/// An object of config.json and how messages call it: "folder/config.json: rope_scaling.".
struct Section {
  const Json& object;
  std::string prefix;

  /// The value of `key`; nullptr where the key is missing or null, which mean the same.
  const Json* find(const char* key) const;
  bool has(const char* key) const { return object.contains(key); }
  /// Throws Error: "<prefix><key>: expected <expected>, found <the value as JSON>".
  [[noreturn]] void refuse(const char* key, const std::string& expected) const;
};

/// Each sets `out` if the key is there; throws Error if its value has another JSON type. A null is
/// refused where there is no meaning for it: null booleans are false, as Python sees them.
void read(const Section& section, const char* key, int64_t& out);
void read(const Section& section, const char* key, double& out);
void read(const Section& section, const char* key, bool& out);
void read(const Section& section, const char* key, std::string& out);
void read(const Section& section, const char* key, std::optional<int64_t>& out);
void read(const Section& section, const char* key, std::optional<double>& out);
void read(const Section& section, const char* key, std::vector<std::string>& out);

/// Sets a key. A value equal to the one that is there is left as it was written (32 stays 32, not
/// 32.0), so that rewriting a file changes only what changed.
void put(Json& object, const char* key, Json value);

/// `rope_parameters` or the older `rope_scaling`, with the top-level `rope_theta`.
RopeParameters read_rope_parameters(const Section& config, int64_t max_position_embeddings);
/// Writes `rope_parameters`, keeping unknown keys of the old dictionary; removes the older keys.
void write_rope_parameters(const RopeParameters& rope, Json& config);
/// Throws Error unless the rotary embedding of `config` can be computed.
void validate_rope_parameters(const DeepseekV3Config& config, const std::string& where);

/// Every plain field, once: read, write and documentation of the names are made from this list.
template <typename Config, typename Visitor>
void visit_fields(Config& c, Visitor&& visit) {
  visit("vocab_size", c.vocab_size);
  visit("hidden_size", c.hidden_size);
  visit("intermediate_size", c.intermediate_size);
  visit("moe_intermediate_size", c.moe_intermediate_size);
  visit("num_hidden_layers", c.num_hidden_layers);
  visit("num_attention_heads", c.num_attention_heads);
  visit("num_key_value_heads", c.num_key_value_heads);
  visit("n_shared_experts", c.n_shared_experts);
  visit("n_routed_experts", c.n_routed_experts);
  visit("routed_scaling_factor", c.routed_scaling_factor);
  visit("kv_lora_rank", c.kv_lora_rank);
  visit("q_lora_rank", c.q_lora_rank);
  visit("qk_rope_head_dim", c.qk_rope_head_dim);
  visit("v_head_dim", c.v_head_dim);
  visit("qk_nope_head_dim", c.qk_nope_head_dim);
  visit("n_group", c.n_group);
  visit("topk_group", c.topk_group);
  visit("num_experts_per_tok", c.num_experts_per_tok);
  visit("first_k_dense_replace", c.first_k_dense_replace);
  visit("norm_topk_prob", c.norm_topk_prob);
  visit("hidden_act", c.hidden_act);
  visit("max_position_embeddings", c.max_position_embeddings);
  visit("initializer_range", c.initializer_range);
  visit("rms_norm_eps", c.rms_norm_eps);
  visit("use_cache", c.use_cache);
  visit("pad_token_id", c.pad_token_id);
  visit("bos_token_id", c.bos_token_id);
  visit("pretraining_tp", c.pretraining_tp);
  visit("tie_word_embeddings", c.tie_word_embeddings);
  visit("rope_interleave", c.rope_interleave);
  visit("attention_bias", c.attention_bias);
  visit("attention_dropout", c.attention_dropout);
}

/// Fields that transformers 5 does not write, or only when they differ from their defaults.
template <typename Config, typename Visitor>
void visit_optional_fields(Config& c, Visitor&& visit) {
  visit("topk_method", c.topk_method);
  visit("scoring_func", c.scoring_func);
  visit("moe_layer_freq", c.moe_layer_freq);
  visit("num_nextn_predict_layers", c.num_nextn_predict_layers);
  visit("problem_type", c.problem_type);
  visit("architectures", c.architectures);
  visit("output_hidden_states", c.output_hidden_states);
  visit("output_attentions", c.output_attentions);
}

}  // namespace dsv3::config_json
