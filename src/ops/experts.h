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

/// y = mlp(x), [tokens, hidden]. y must not be x. `observer` may be empty.
void mlp(Matrix x, const MlpWeights& w, Matrix y, Activations activations = Activations::kFloat32,
         const MlpObserver& observer = {});

/// y = sum over each token's chosen experts of weight * expert(x), plus shared(x); `shared` may be
/// null. Tokens are sorted by expert once, and all experts run as two grouped products (gate and up
/// with SwiGLU; down with the weighted sum), whose tasks are tiles of an expert's rows. An output
/// channel's sum goes over the experts in ascending order, the shared one last, whatever the batch.
/// y must not be x. `observer`, if not empty, is called for each network that has tokens, by the
/// calling thread. Source: DeepseekV3MoE, report equation 12.
void mixture_of_experts(Matrix x, const Routing& routing, int64_t num_experts_per_tok,
                        std::span<const MlpWeights> experts, const MlpWeights* shared, Matrix y,
                        Activations activations = Activations::kFloat32,
                        const MlpObserver& observer = {});

}  // namespace dsv3::ops
