#pragma once

#include <functional>
#include <string>
#include <vector>

#include "dsv3/config.h"
#include "dsv3/tensor.h"
#include "ops/experts.h"
#include "ops/linear.h"
#include "ops/mla_attention.h"

namespace dsv3::model {

/// Multi-head Latent Attention (report 2.1.1; DeepseekV3Attention). Norm weights are float32.
struct MlaWeights {
  ops::LinearWeight q_proj;    ///< [heads * qk_head_dim, hidden]; only without q_lora_rank
  ops::LinearWeight q_a_proj;  ///< [q_lora_rank, hidden]
  Tensor q_a_layernorm;        ///< [q_lora_rank]
  ops::LinearWeight q_b_proj;  ///< [heads * qk_head_dim, q_lora_rank]
  ops::LinearWeight kv_a_proj_with_mqa;  ///< [kv_lora_rank + qk_rope_head_dim, hidden]
  Tensor kv_a_layernorm;                 ///< [kv_lora_rank]
  ops::LatentUpProjection kv_up;         ///< kv_b_proj
  ops::LinearWeight o_proj;              ///< [hidden, heads * v_head_dim]
};

/// Mixture of experts (report 2.1.2; DeepseekV3MoE).
struct MoeWeights {
  ops::LinearWeight gate;          ///< [n_routed_experts, hidden]
  Tensor e_score_correction_bias;  ///< float32 [n_routed_experts]
  std::vector<ops::MlpWeights> experts;
  ops::MlpWeights shared_experts;  ///< absent if n_shared_experts is 0
};

struct LayerWeights {
  Tensor input_layernorm;  ///< [hidden]
  MlaWeights self_attn;
  Tensor post_attention_layernorm;  ///< [hidden]
  ops::MlpWeights mlp;              ///< dense layers
  MoeWeights moe;                   ///< the others
};

/// A multi-token prediction module (report 2.2). Its embedding and head are copies of the main
/// model's.
struct MtpWeights {
  Tensor enorm;               ///< [hidden], norm of the embedding
  Tensor hnorm;               ///< [hidden], norm of the previous hidden state
  ops::LinearWeight eh_proj;  ///< [hidden, 2 hidden], input is [embedding | hidden state]
  LayerWeights layer;
  Tensor shared_head_norm;  ///< [hidden]
  ops::LinearWeight embed_tokens;
  ops::LinearWeight shared_head;
};

struct ModelWeights {
  ops::LinearWeight embed_tokens;  ///< [vocab, hidden]
  std::vector<LayerWeights> layers;
  Tensor norm;  ///< [hidden]
  std::vector<MtpWeights> mtp;
  ops::LinearWeight
      lm_head;  ///< [vocab, hidden]; causal LM. With tied embeddings the embedding's memory
  ops::LinearWeight score;  ///< [num_labels, hidden]; classification
};

/// Which head a model has.
enum class Head : uint8_t { kNone, kCausalLm, kSequenceClassification, kTokenClassification };

/// What a tensor is for: decides in which type it is kept and whether it may be quantised.
enum class TensorRole : uint8_t {
  kLinear,          ///< weights of projections and experts, FP8 in official checkpoints
  kEmbedding,       ///< embed_tokens, lm_head, eh_proj, score: never FP8
  kRouter,          ///< gate.weight
  kNorm,            ///< kept in float32
  kBias,            ///< kept in float32
  kCorrectionBias,  ///< e_score_correction_bias, kept in float32
};

/// One tensor of a checkpoint and where it lives in ModelWeights.
struct TensorSlot {
  std::string name;  ///< official name, with the "model." prefix
  Shape shape;
  TensorRole role;
  Tensor* tensor;
  ops::LinearWeight* linear =
      nullptr;  ///< the weight it belongs to, where FP8 scales go; null for norms and biases
  /// For kv_b_proj: where its two halves go if the checkpoint has these instead.
  ops::LatentUpProjection* kv_up = nullptr;
  bool optional = false;  ///< may be missing (copies in MTP modules)
  bool in_trunk = true;   ///< belongs to DeepseekV3Model, where files may lack the "model." prefix
};

/// The one enumeration of a model's tensors, in the order of the forward pass; loading, saving,
/// inspecting and training use it. Sizes `weights` for the configuration first. `mtp`: include the
/// MTP modules.
std::vector<TensorSlot> enumerate_tensors(const DeepseekV3Config& config, Head head, bool mtp,
                                          ModelWeights& weights);

}  // namespace dsv3::model
