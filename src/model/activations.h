#pragma once

#include <cstdint>
#include <vector>

#include "dsv3/config.h"
#include "kernels/scratch.h"
#include "ops/experts.h"
#include "ops/rotary.h"
#include "ops/router.h"
#include "tensor/matrix.h"

namespace dsv3::model {

/// What the backward pass needs of a decoder layer's forward pass. Matrices that are recomputed
/// instead (report 3.2.3) have no memory. T: tokens of the batch.
struct LayerActivations {
  Matrix input;         ///< [T, hidden], of the layer
  Matrix normed;        ///< [T, hidden], after input_layernorm; may be recomputed
  Matrix c_q_unnormed;  ///< [T, q_lora_rank], q_a_proj's output; only with q_lora_rank
  Matrix c_q;           ///< [T, q_lora_rank], normalised; may be recomputed
  Matrix
      q;  ///< [T, heads * qk_head_dim], rotated; may be recomputed (q_b_proj is an up-projection)
  Matrix c_kv_unnormed;  ///< [T, kv_lora_rank], kv_a_proj_with_mqa's first channels
  Matrix kv;             ///< [T, kv_lora_rank + qk_rope_head_dim], normalised and rotated
  Matrix heads;          ///< [T, heads * v_head_dim], what o_proj takes
  std::vector<float*> log_sum_exp;  ///< of each sequence, [heads, its tokens]

  Matrix middle;         ///< [T, hidden], between attention and feed-forward
  Matrix middle_normed;  ///< [T, hidden], after post_attention_layernorm; may be recomputed
  ops::Routing routing;  ///< MoE layers
  std::vector<float> router_logits;  ///< MoE layers, [T, n_routed_experts]
  ops::ExpertsActivations experts;   ///< of a dense layer `shared` alone
};

/// The activations of a forward pass, and the memory that they lie in, which is used again for the
/// next one.
class Activations {
 public:
  /// `recompute`: keep less, see LayerActivations.
  explicit Activations(bool recompute = false) : recompute_(recompute) {}

  bool recompute() const { return recompute_; }
  /// Forgets everything; memory stays.
  void clear();
  /// Memory until the next `clear`.
  Matrix matrix(int64_t rows, int64_t cols);
  /// A copy that lives until the next `clear`.
  Matrix copy(Matrix x);
  /// Handed out since the last `clear`.
  int64_t bytes() const;

  ops::RotaryTable rotary;               ///< of the batch
  std::vector<LayerActivations> layers;  ///< as the forward pass goes through them
  Matrix last;                           ///< [T, hidden], input of the final norm
  // Of a multi-token prediction module only:
  Matrix embeddings, previous;  ///< [T, hidden], inputs of enorm and hnorm
  Matrix both;                  ///< [T, 2 hidden], input of eh_proj

 private:
  struct Block {
    kernels::Scratch memory;
    int64_t used = 0, size = 0;
  };
  bool recompute_;
  std::vector<Block> blocks_;
  size_t current_ = 0;
};

}  // namespace dsv3::model
