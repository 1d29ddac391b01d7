#pragma once

#include <functional>
#include <span>

#include "dsv3/config.h"
#include "model/activations.h"
#include "model/latent_cache.h"
#include "model/rope.h"
#include "model/weights.h"
#include "ops/mla_attention.h"
#include "ops/rotary.h"
#include "tensor/matrix.h"

namespace dsv3::model {

/// The new tokens of one sequence in a batch.
struct BatchSequence {
  LatentCache* cache = nullptr;  ///< its earlier tokens; the new ones are added
  int64_t n_tokens = 0;          ///< at least 1
  const uint8_t* visible =
      nullptr;  ///< [cache length + n_tokens], 0: nobody attends to that token; null: all visible
};

/// A flat list of tokens of any number of sequences; a sequence's tokens stand together, in order.
/// There is no padding.
struct RaggedBatch {
  std::span<const BatchSequence> sequences;
  std::span<const int64_t>
      positions;      ///< [tokens], for the rotary embedding; order and causality follow the cache
  Matrix embeddings;  ///< [tokens, hidden], input; overwritten
  int64_t rope_length = 0;  ///< largest position + 1 that "dynamic" RoPE goes by; 0: of this batch
};

/// How to compute, where there is a choice.
struct ComputeOptions {
  ops::MlaForm mla_form = ops::MlaForm::kAuto;
  ops::Activations activations = ops::Activations::kFloat32;
  /// Called when a layer's weights are not needed until the next forward pass; may be empty.
  std::function<void(int64_t layer)> after_layer;
};

/// What goes into the matrices of LatentUpProjection.
enum class LatentUpInput : uint8_t {
  kLatents,          ///< into kv_b_proj: normalised latents, [tokens, kv_lora_rank]
  kQueries,          ///< into k_b_proj: [tokens, heads * qk_head_dim], of each head q_nope
  kWeightedLatents,  ///< into v_b_proj: the latents as each head weights them, [tokens, heads *
                     ///< kv_lora_rank]
};

/// Sees intermediate results of a forward pass. All functions may be empty.
struct ForwardObserver {
  /// Input of layer `layer` (0: the embeddings), [tokens, hidden].
  std::function<void(int64_t layer, Matrix hidden)> layer_input;
  /// Where the softmax weights [heads, n_tokens, cache length + n_tokens] of a layer and sequence
  /// go (null: nowhere).
  std::function<float*(int64_t layer, int64_t sequence)> attentions;
  /// Router decisions of an MoE layer.
  std::function<void(int64_t layer, const ops::Routing& routing)> routing;
  /// Rows `rows` of x, all if empty, that are multiplied with a weight of the ModelWeights that
  /// `forward` was given; the heads are left to who calls them.
  std::function<void(const ops::LinearWeight& w, Matrix x, std::span<const int32_t> rows)>
      linear_input;
  /// The same of kv_b_proj. Attention is computed absorbed for it.
  std::function<void(const ops::LatentUpProjection& w, LatentUpInput which, Matrix x)>
      latent_up_input;
};

/// Token embeddings, [ids, hidden].
void embed_tokens(const ModelWeights& weights, std::span<const int64_t> ids, Matrix out);

/// The decoder (DeepseekV3Model.forward): all layers over the batch, then the final norm into
/// `last_hidden_state` [tokens, hidden]. Adds the tokens to the caches; if it throws, caches hold
/// what they held before. `keep`, if not null, receives what the backward pass needs: caches are
/// then empty and of one layer, and attention is computed expanded. Shares work space: one call at
/// a time for a thread.
void forward(const DeepseekV3Config& config, const ModelWeights& weights,
             const ComputeOptions& options, const RaggedBatch& batch, Matrix last_hidden_state,
             const ForwardObserver& observer = {}, Activations* keep = nullptr);

/// The multi-token prediction module `module` (report 2.2, figure 3): a decoder layer over rows
/// eh_proj([enorm(embedding of the next token) | hnorm(previous hidden state)]). For the first
/// module the previous hidden state is the main model's after its final norm. `batch.embeddings`
/// are those of the next tokens; `previous` [tokens, hidden]; `hidden_states` receives
/// shared_head.norm of the layer's output. The caches are the module's own, of one layer.
void forward_mtp(const DeepseekV3Config& config, const MtpWeights& module, int64_t module_index,
                 const ComputeOptions& options, const RaggedBatch& batch, Matrix previous,
                 Matrix hidden_states, const ForwardObserver& observer = {},
                 Activations* keep = nullptr);

/// logits = head(hidden), [rows, vocab].
inline void lm_head(const ops::LinearWeight& head, const ComputeOptions& options, Matrix hidden,
                    Matrix logits) {
  ops::linear(hidden, head, logits, options.activations);
}

}  // namespace dsv3::model
