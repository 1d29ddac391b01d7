#include "model/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/gguf_tokens.h"

namespace dsv3::model {
namespace {

// llama.cpp's numbers of router functions (expert_gating_func).
constexpr int64_t kSoftmax = 1;
constexpr int64_t kSigmoid = 2;

std::string key_of(std::string_view name) { return fmt::format("{}.{}", kGgufArchitecture, name); }

// 2.5 for 2.5f, 0.000001 for 1e-6f: what was meant before the file rounded it.
double shortest_decimal(double x) {
  const auto narrow = static_cast<float>(x);
  if (static_cast<double>(narrow) != x) return x;
  return std::strtod(fmt::format("{}", narrow).c_str(), nullptr);
}

class Reader {
 public:
  explicit Reader(const Checkpoint& checkpoint)
      : checkpoint_(checkpoint), m_(*checkpoint.gguf_metadata()) {}

  DeepseekV3Config read() {
    const std::string& architecture = m_.string(kGgufArchitectureKey);
    if (architecture != kGgufArchitecture) {
      fail("{}: the architecture is '{}', expected '{}' (DeepSeek-V3 and its kin)", m_.where(),
           architecture, kGgufArchitecture);
    }
    read_sizes();
    read_experts();
    read_rope();
    read_tokens();
    c_.tie_word_embeddings = !checkpoint_.contains("output.weight");
    c_.architectures = {"DeepseekV3ForCausalLM"};
    c_.validate(m_.where());
    return std::move(c_);
  }

 private:
  int64_t integer(std::string_view name) const { return m_.integer(key_of(name)); }
  int64_t integer(std::string_view name, int64_t otherwise) const {
    return m_.find_integer(key_of(name)).value_or(otherwise);
  }
  std::optional<double> number(std::string_view name) const {
    const auto found = m_.find_number(key_of(name));
    return found ? std::optional(shortest_decimal(*found)) : std::nullopt;
  }

  void read_sizes() {
    c_.hidden_size = integer("embedding_length");
    c_.num_nextn_predict_layers = integer("nextn_predict_layers", 0);
    c_.num_hidden_layers = integer("block_count") - c_.num_nextn_predict_layers;
    c_.intermediate_size = integer("feed_forward_length");
    c_.max_position_embeddings = integer("context_length");
    c_.num_attention_heads = c_.num_key_value_heads = integer("attention.head_count");
    const int64_t q_lora_rank = integer("attention.q_lora_rank", 0);
    c_.q_lora_rank = q_lora_rank == 0 ? std::nullopt : std::optional(q_lora_rank);
    c_.kv_lora_rank = integer("attention.kv_lora_rank");
    c_.qk_rope_head_dim = integer("rope.dimension_count");
    // Where attn_kv_b is split, the plain keys have the sizes of the absorbed form.
    const auto mla = m_.find_integer(key_of("attention.key_length_mla"));
    const int64_t qk_head_dim = mla ? *mla : integer("attention.key_length");
    c_.qk_nope_head_dim = qk_head_dim - c_.qk_rope_head_dim;
    if (c_.qk_nope_head_dim < 1) {
      fail("{}: {} is {}, expected more than {} of {}", m_.where(),
           key_of(mla ? "attention.key_length_mla" : "attention.key_length"), qk_head_dim,
           c_.qk_rope_head_dim, key_of("rope.dimension_count"));
    }
    c_.v_head_dim = integer(mla ? "attention.value_length_mla" : "attention.value_length");
    c_.rms_norm_eps = number("attention.layer_norm_rms_epsilon").value_or(c_.rms_norm_eps);
    const auto vocab_size = m_.find_integer(key_of("vocab_size"));
    c_.vocab_size =
        vocab_size ? *vocab_size : static_cast<int64_t>(m_.strings("tokenizer.ggml.tokens").size());
  }

  void read_experts() {
    c_.first_k_dense_replace = integer("leading_dense_block_count", 0);
    c_.n_routed_experts = integer("expert_count");
    c_.num_experts_per_tok = integer("expert_used_count");
    c_.n_shared_experts = integer("expert_shared_count", 0);
    c_.moe_intermediate_size = integer("expert_feed_forward_length");
    c_.norm_topk_prob = m_.find_boolean(key_of("expert_weights_norm")).value_or(false);
    const double scale = number("expert_weights_scale").value_or(0);
    c_.routed_scaling_factor = scale == 0 ? 1.0 : scale;
    const int64_t gating = integer("expert_gating_func", kSoftmax);
    if (gating != kSigmoid) {
      fail("{}: {} is {}{}, expected {} (sigmoid): the router of DeepSeek-V2 is not supported",
           m_.where(), key_of("expert_gating_func"),
           m_.contains(key_of("expert_gating_func")) ? "" : "absent, which means ", gating,
           kSigmoid);
    }
    read_groups();
  }

  void read_groups() {
    c_.n_group = integer("expert_group_count", 0);
    c_.topk_group = integer("expert_group_used_count", 0);
    if (c_.n_group != 0) return;
    c_.n_group = c_.topk_group = 1;
    const bool is_v3 = c_.hidden_size == 7168 && c_.num_hidden_layers == 61 &&
                       c_.n_routed_experts == 256 && c_.num_experts_per_tok == 8 &&
                       c_.first_k_dense_replace == 3;
    if (!is_v3) return;
    c_.n_group = 8;
    c_.topk_group = 4;
    warn(
        "{}: no {}, as in older files; the model has the sizes of DeepSeek-V3, so experts are "
        "chosen from 4 of 8 groups as there",
        m_.where(), key_of("expert_group_count"));
  }

  void read_rope() {
    RopeParameters& rope = c_.rope_parameters;
    rope.rope_theta = number("rope.freq_base").value_or(rope.rope_theta);
    rope.factor = number("rope.scaling.factor").value_or(1);
    const std::string* type = m_.find_string(key_of("rope.scaling.type"));
    if (type == nullptr || *type == "none") {
      rope.rope_type =
          type == nullptr && rope.factor > 0 && rope.factor != 1 ? "linear" : "default";
    } else if (*type == "yarn" || *type == "linear") {
      rope.rope_type = *type;
    } else {
      fail("{}: {} is '{}', expected none, linear or yarn", m_.where(), key_of("rope.scaling.type"),
           *type);
    }
    if (rope.rope_type == "default") rope.factor = 1;
    if (rope.rope_type != "yarn") return;
    rope.original_max_position_embeddings = integer("rope.scaling.original_context_length");
    rope.beta_fast = number("rope.scaling.yarn_beta_fast").value_or(rope.beta_fast);
    rope.beta_slow = number("rope.scaling.yarn_beta_slow").value_or(rope.beta_slow);
    rope.attention_factor = number("rope.scaling.yarn_attn_factor");
    // 0.1 mscale_all_dim. llama.cpp has no mscale: cos and sin are multiplied with the ratio of the
    // two, which it takes to be 1.
    const double multiplier = number("rope.scaling.yarn_log_multiplier").value_or(0);
    if (multiplier != 0) rope.mscale = rope.mscale_all_dim = 10 * multiplier;
  }

  void read_tokens() {
    const auto id = [&](const char* key) { return m_.find_integer(key); };
    c_.bos_token_id = id("tokenizer.ggml.bos_token_id");
    c_.eos_token_id = gguf_end_tokens(m_);
    c_.pad_token_id = id("tokenizer.ggml.padding_token_id");
  }

  const Checkpoint& checkpoint_;
  const GgufMetadata& m_;
  DeepseekV3Config c_;
};

}  // namespace

DeepseekV3Config config_from_gguf(const Checkpoint& checkpoint) {
  return Reader(checkpoint).read();
}

void add_gguf_config(const DeepseekV3Config& c, bool split_kv_b, GgufMetadata& metadata) {
  if (!c.rope_interleave) {
    fail("rope_interleave is false: a GGUF of {} always rotates interleaved pairs",
         kGgufArchitecture);
  }
  if (c.attention_bias)
    fail("attention_bias is true: llama.cpp has no biases in {}", kGgufArchitecture);
  const auto integer = [&](std::string_view name, int64_t value) {
    metadata.set(key_of(name), static_cast<uint32_t>(value));
  };
  const auto number = [&](std::string_view name, double value) {
    metadata.set(key_of(name), static_cast<float>(value));
  };
  metadata.set(kGgufArchitectureKey, std::string(kGgufArchitecture));
  integer("block_count", c.num_hidden_layers + c.num_nextn_predict_layers);
  if (c.num_nextn_predict_layers > 0) integer("nextn_predict_layers", c.num_nextn_predict_layers);
  integer("context_length", c.max_position_embeddings);
  integer("embedding_length", c.hidden_size);
  integer("feed_forward_length", c.intermediate_size);
  integer("vocab_size", c.vocab_size);
  integer("attention.head_count", c.num_attention_heads);
  if (split_kv_b) {
    integer("attention.head_count_kv", 1);
    integer("attention.key_length", c.kv_lora_rank + c.qk_rope_head_dim);
    integer("attention.value_length", c.kv_lora_rank);
    integer("attention.key_length_mla", c.qk_head_dim());
    integer("attention.value_length_mla", c.v_head_dim);
  } else {
    integer("attention.head_count_kv", c.num_attention_heads);
    integer("attention.key_length", c.qk_head_dim());
    integer("attention.value_length", c.v_head_dim);
  }
  number("attention.layer_norm_rms_epsilon", c.rms_norm_eps);
  if (c.q_lora_rank) integer("attention.q_lora_rank", *c.q_lora_rank);
  integer("attention.kv_lora_rank", c.kv_lora_rank);
  integer("leading_dense_block_count", c.first_k_dense_replace);
  integer("expert_count", c.n_routed_experts);
  integer("expert_used_count", c.num_experts_per_tok);
  integer("expert_shared_count", c.n_shared_experts);
  integer("expert_feed_forward_length", c.moe_intermediate_size);
  integer("expert_group_count", c.n_group);
  integer("expert_group_used_count", c.topk_group);
  number("expert_weights_scale", c.routed_scaling_factor);
  metadata.set(key_of("expert_weights_norm"), c.norm_topk_prob);
  integer("expert_gating_func", kSigmoid);

  const RopeParameters& rope = c.rope_parameters;
  integer("rope.dimension_count", c.qk_rope_head_dim);
  number("rope.freq_base", rope.rope_theta);
  if (rope.rope_type == "default") return;
  if (rope.rope_type != "yarn" && rope.rope_type != "linear") {
    fail("rope_type \"{}\": GGUF files know only default, linear and yarn", rope.rope_type);
  }
  metadata.set(key_of("rope.scaling.type"), rope.rope_type);
  number("rope.scaling.factor", rope.factor);
  if (rope.rope_type != "yarn") return;
  const bool same_mscale = rope.mscale.value_or(0) == rope.mscale_all_dim.value_or(0);
  if (!same_mscale || (!rope.truncate)) {
    fail(
        "YaRN with mscale {}, mscale_all_dim {} and truncate {}: GGUF files can say only equal "
        "scales and truncate true",
        rope.mscale.value_or(0), rope.mscale_all_dim.value_or(0), rope.truncate);
  }
  integer("rope.scaling.original_context_length",
          rope.original_max_position_embeddings.value_or(c.max_position_embeddings));
  if (rope.mscale_all_dim.value_or(0) != 0) {
    number("rope.scaling.yarn_log_multiplier", 0.1 * *rope.mscale_all_dim);
  }
  number("rope.scaling.yarn_beta_fast", rope.beta_fast);
  number("rope.scaling.yarn_beta_slow", rope.beta_slow);
  if (rope.attention_factor) number("rope.scaling.yarn_attn_factor", *rope.attention_factor);
}

}  // namespace dsv3::model
