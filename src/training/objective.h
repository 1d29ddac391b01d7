#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "dsv3/config.h"
#include "model/activations.h"
#include "model/backward.h"
#include "model/deepseek_v3.h"
#include "training/window.h"

namespace dsv3::training {

/// Tokens that attend to each other: a window, or a document in it. At least two.
using Piece = std::vector<int32_t>;
/// The pieces of windows: whole windows, or the documents in them of two tokens or more.
std::vector<Piece> pieces_of(std::span<const Window> windows, bool attention_across_documents);

/// How many tokens are predicted: [0] by the main model, [k] by MTP module k. In a piece of n
/// tokens the main model predicts n - 1 and module k, which needs k tokens more, n - 1 - k.
std::vector<int64_t> predicted_tokens(std::span<const Piece> pieces, int64_t mtp_depth);

/// Sums over the tokens predicted, as predicted_tokens counts them.
struct Losses {
  std::vector<double> cross_entropy;  ///< [0] main model, [k] MTP module k
  double balance = 0;                 ///< weighted, of all MoE layers
};

/// What the sums are multiplied by before they are differentiated.
struct LossWeights {
  std::vector<double> cross_entropy;  ///< as in Losses; a module with 0 does not run
  double balance_per_token = 0;  ///< a sequence's balance loss counts with its length times this
};

/// The model's training objective (report 2.1.2, 2.2): next token, multi-token prediction, balance.
class Objective {
 public:
  /// `cache_dtype`: in what attention sees latents, F32 or BF16 (products in bfloat16).
  Objective(const DeepseekV3Config& config, DType cache_dtype, bool recompute);

  /// Sums of losses without gradients.
  Losses evaluate(const model::ModelWeights& weights, std::span<const Piece> pieces,
                  std::span<const double> module_weights);
  /// Sums of losses; adds the gradients. `expert_load` [MoE layers][n_routed_experts] is added to.
  Losses differentiate(const model::ModelWeights& weights, std::span<const Piece> pieces,
                       const LossWeights& loss_weights, model::ModelWeights& gradients,
                       std::vector<std::vector<int64_t>>& expert_load);

  /// Of the activations that the last call kept.
  int64_t activation_bytes() const;

 private:
  struct Batch;
  /// Of the main model (0) and the MTP modules.
  model::Activations& activations(size_t depth) { return depth == 0 ? main_ : modules_[depth - 1]; }
  Batch batch(const model::ModelWeights& weights, std::span<const Piece> pieces, size_t depth);
  void count_load(const model::Activations& kept, size_t& layer,
                  std::vector<std::vector<int64_t>>& expert_load) const;

  const DeepseekV3Config& config_;
  DType cache_dtype_;
  model::ComputeOptions compute_;
  std::deque<model::LatentCache> caches_;
  model::Activations main_;
  std::vector<model::Activations> modules_;
};

}  // namespace dsv3::training
