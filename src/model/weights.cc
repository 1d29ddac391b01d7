#include "model/weights.h"

#include <fmt/format.h>

namespace dsv3::model {
namespace {

class Enumerator {
 public:
  explicit Enumerator(const DeepseekV3Config& config) : c_(config) {}

  void linear(const std::string& name, int64_t out, int64_t in, ops::LinearWeight& w,
              TensorRole role = TensorRole::kLinear) {
    if (c_.quantization_config) {
      w.block_rows = c_.quantization_config->block_rows;
      w.block_cols = c_.quantization_config->block_cols;
    }
    slots_.push_back({name + ".weight", {out, in}, role, &w.weight, &w});
  }
  void bias(const std::string& name, int64_t n, ops::LinearWeight& w) {
    slots_.push_back({name + ".bias", {n}, TensorRole::kBias, &w.bias});
  }
  void norm(const std::string& name, int64_t n, Tensor& t) {
    slots_.push_back({name + ".weight", {n}, TensorRole::kNorm, &t});
  }

  void mlp(const std::string& name, int64_t intermediate, ops::MlpWeights& w) {
    linear(name + ".gate_proj", intermediate, c_.hidden_size, w.gate_proj);
    linear(name + ".up_proj", intermediate, c_.hidden_size, w.up_proj);
    linear(name + ".down_proj", c_.hidden_size, intermediate, w.down_proj);
  }

  void attention(const std::string& name, MlaWeights& w) {
    const int64_t heads = c_.num_attention_heads;
    if (c_.q_lora_rank) {
      linear(name + ".q_a_proj", *c_.q_lora_rank, c_.hidden_size, w.q_a_proj);
      if (c_.attention_bias) bias(name + ".q_a_proj", *c_.q_lora_rank, w.q_a_proj);
      norm(name + ".q_a_layernorm", *c_.q_lora_rank, w.q_a_layernorm);
      linear(name + ".q_b_proj", heads * c_.qk_head_dim(), *c_.q_lora_rank, w.q_b_proj);
    } else {
      linear(name + ".q_proj", heads * c_.qk_head_dim(), c_.hidden_size, w.q_proj);
    }
    const int64_t kv_a = c_.kv_lora_rank + c_.qk_rope_head_dim;
    linear(name + ".kv_a_proj_with_mqa", kv_a, c_.hidden_size, w.kv_a_proj_with_mqa);
    if (c_.attention_bias) bias(name + ".kv_a_proj_with_mqa", kv_a, w.kv_a_proj_with_mqa);
    norm(name + ".kv_a_layernorm", c_.kv_lora_rank, w.kv_a_layernorm);
    linear(name + ".kv_b_proj", heads * (c_.qk_nope_head_dim + c_.v_head_dim), c_.kv_lora_rank,
           w.kv_up.kv_b_proj);
    slots_.back().kv_up = &w.kv_up;
    linear(name + ".o_proj", c_.hidden_size, heads * c_.v_head_dim, w.o_proj);
    if (c_.attention_bias) bias(name + ".o_proj", c_.hidden_size, w.o_proj);
  }

  void layer(const std::string& name, int64_t index, LayerWeights& w) {
    norm(name + ".input_layernorm", c_.hidden_size, w.input_layernorm);
    attention(name + ".self_attn", w.self_attn);
    norm(name + ".post_attention_layernorm", c_.hidden_size, w.post_attention_layernorm);
    if (!c_.is_moe_layer(index)) return mlp(name + ".mlp", c_.intermediate_size, w.mlp);
    linear(name + ".mlp.gate", c_.n_routed_experts, c_.hidden_size, w.moe.gate,
           TensorRole::kRouter);
    slots_.push_back({name + ".mlp.gate.e_score_correction_bias",
                      {c_.n_routed_experts},
                      TensorRole::kCorrectionBias,
                      &w.moe.e_score_correction_bias});
    w.moe.experts.resize(c_.n_routed_experts);
    for (int64_t e = 0; e < c_.n_routed_experts; ++e) {
      mlp(fmt::format("{}.mlp.experts.{}", name, e), c_.moe_intermediate_size, w.moe.experts[e]);
    }
    if (c_.n_shared_experts > 0) {
      mlp(name + ".mlp.shared_experts", c_.moe_intermediate_size * c_.n_shared_experts,
          w.moe.shared_experts);
    }
  }

  void mtp(const std::string& name, int64_t index, MtpWeights& w) {
    embedding(name + ".embed_tokens", w.embed_tokens);
    slots_.back().optional = true;
    norm(name + ".enorm", c_.hidden_size, w.enorm);
    norm(name + ".hnorm", c_.hidden_size, w.hnorm);
    linear(name + ".eh_proj", c_.hidden_size, 2 * c_.hidden_size, w.eh_proj,
           TensorRole::kEmbedding);
    layer(name, index, w.layer);
    norm(name + ".shared_head.norm", c_.hidden_size, w.shared_head_norm);
    embedding(name + ".shared_head.head", w.shared_head);
    slots_.back().optional = true;
  }

  void embedding(const std::string& name, ops::LinearWeight& w) {
    linear(name, c_.vocab_size, c_.hidden_size, w, TensorRole::kEmbedding);
  }

  std::vector<TensorSlot>& slots() { return slots_; }

 private:
  const DeepseekV3Config& c_;
  std::vector<TensorSlot> slots_;
};

}  // namespace

std::vector<TensorSlot> enumerate_tensors(const DeepseekV3Config& config, Head head, bool mtp,
                                          ModelWeights& weights) {
  weights.layers.resize(config.num_hidden_layers);
  weights.mtp.resize(mtp ? config.num_nextn_predict_layers : 0);
  Enumerator e(config);
  e.embedding("model.embed_tokens", weights.embed_tokens);
  for (int64_t l = 0; l < config.num_hidden_layers; ++l) {
    e.layer(fmt::format("model.layers.{}", l), l, weights.layers[l]);
  }
  e.norm("model.norm", config.hidden_size, weights.norm);
  for (size_t i = 0; i < weights.mtp.size(); ++i) {
    const int64_t index = config.num_hidden_layers + static_cast<int64_t>(i);
    e.mtp(fmt::format("model.layers.{}", index), index, weights.mtp[i]);
  }
  const size_t trunk = e.slots().size();
  if (head == Head::kCausalLm && !config.tie_word_embeddings)
    e.embedding("lm_head", weights.lm_head);
  if (head == Head::kSequenceClassification || head == Head::kTokenClassification) {
    e.linear("score", config.num_labels, config.hidden_size, weights.score, TensorRole::kEmbedding);
    if (head == Head::kTokenClassification) e.bias("score", config.num_labels, weights.score);
  }
  for (size_t i = trunk; i < e.slots().size(); ++i) e.slots()[i].in_trunk = false;
  return std::move(e.slots());
}

}  // namespace dsv3::model
