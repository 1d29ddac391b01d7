#pragma once

#include <functional>
#include <span>

#include "ops/linear.h"
#include "ops/router.h"

namespace dsv3::ops {

/// One SwiGLU feed-forward network: down(silu(gate(x)) * up(x)). Source: DeepseekV3MLP.
struct MlpWeights {
  LinearWeight gate_proj;  ///< [intermediate, hidden]
  LinearWeight up_proj;    ///< [intermediate, hidden]
  LinearWeight down_proj;  ///< [hidden, intermediate]
  int64_t intermediate_size() const { return gate_proj.out_features(); }
};

/// Sees what goes through a network: which rows of x, and silu(gate(x)) * up(x) of them,
/// [rows, intermediate], before it is rounded for down_proj.
using MlpObserver =
    std::function<void(const MlpWeights& w, std::span<const int32_t> rows, Matrix hidden)>;

/// What the backward pass needs of a network's forward pass: gate(x) and up(x), [rows,
/// intermediate].
struct MlpActivations {
  Matrix gate, up;
};
/// The same of a layer's experts. Rows of `routed` are (token, choice) pairs sorted by expert,
/// tokens ascending: [tokens * num_experts_per_tok, moe_intermediate_size]; `shared`: [tokens,
/// ...].
struct ExpertsActivations {
  MlpActivations routed, shared;
};

/// y = mlp(x), [tokens, hidden]. y must not be x. `observer` may be empty. `keep`, if not null,
/// names the memory where its contents are left.
void mlp(Matrix x, const MlpWeights& w, Matrix y, Activations activations = Activations::kFloat32,
         const MlpObserver& observer = {}, const MlpActivations* keep = nullptr);

/// y = sum over each token's chosen experts of weight * expert(x), plus shared(x); `shared` may be
/// null. Tokens are sorted by expert once, and all experts run as two grouped products (gate and up
/// with SwiGLU; down with the weighted sum), whose tasks are tiles of an expert's rows. An output
/// channel's sum goes over the experts in ascending order, the shared one last, whatever the batch.
/// y must not be x. `observer`, if not empty, is called for each network that has tokens, by the
/// calling thread. Source: DeepseekV3MoE, report equation 12.
void mixture_of_experts(Matrix x, const Routing& routing, int64_t num_experts_per_tok,
                        std::span<const MlpWeights> experts, const MlpWeights* shared, Matrix y,
                        Activations activations = Activations::kFloat32,
                        const MlpObserver& observer = {}, const ExpertsActivations* keep = nullptr);

/// Gradients of mlp, with what it kept, which is overwritten. Writes dx; adds to the weights'
/// gradients (float32).
void mlp_backward(Matrix x, const MlpWeights& w, Matrix dy, const MlpActivations& kept, Matrix dx,
                  MlpWeights& gradient);
/// Gradients of mixture_of_experts. Writes dx and d_weights [tokens * num_experts_per_tok], the
/// gradients of the routing's weights; adds to those of the experts.
void mixture_of_experts_backward(Matrix x, const Routing& routing, int64_t num_experts_per_tok,
                                 std::span<const MlpWeights> experts, const MlpWeights* shared,
                                 Matrix dy, const ExpertsActivations& kept, Matrix dx,
                                 std::span<float> d_weights, std::span<MlpWeights> gradients,
                                 MlpWeights* d_shared);

/// The (token, choice) pairs of a routing, sorted by expert (counting sort), tokens ascending.
struct PairsByExpert {
  std::vector<int64_t> first;   ///< [experts + 1]: an expert's first pair
  std::vector<int32_t> tokens;  ///< [pairs]
  std::vector<float> weights;   ///< [pairs]
  std::vector<int64_t> places;  ///< [tokens * num_experts_per_tok]: where a choice went
};
PairsByExpert sort_by_expert(const Routing& routing, int64_t num_experts_per_tok,
                             int64_t n_experts);

}  // namespace dsv3::ops
