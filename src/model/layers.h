// The two halves of a decoder layer, as the forward pass and the MTP modules use them.
#pragma once

#include "model/deepseek_v3.h"

namespace dsv3::model {

/// What all layers of one forward pass share.
struct ForwardContext {
  const DeepseekV3Config& config;
  const ComputeOptions& options;
  std::span<const BatchSequence> sequences;
  ops::MlaShape mla_shape;
  ops::RotaryTable rotary;
  const ForwardObserver& observer;

  ForwardContext(const DeepseekV3Config& c, const ComputeOptions& o, const RaggedBatch& batch,
                 const ForwardObserver& obs);

  /// y = x W^T + b, seen by the observer.
  void linear(Matrix x, const ops::LinearWeight& w, Matrix y) const;
  /// For networks whose input is x; empty if nobody observes.
  ops::MlpObserver mlp_observer(Matrix x) const;
};

/// y = attention(x), [tokens, hidden]; writes the new tokens' latents to `cache_layer` of the
/// caches. `layer` is what the observer is told.
void latent_attention(const ForwardContext& context, const MlaWeights& w, int64_t layer,
                      int64_t cache_layer, Matrix x, Matrix y);

/// y = experts(x) with routing, shared expert included.
void moe(const ForwardContext& context, const MoeWeights& w, int64_t layer, Matrix x, Matrix y);

/// x += attention(norm(x)); x += feed-forward(norm(x)).
void decoder_layer(const ForwardContext& context, const LayerWeights& w, int64_t layer,
                   int64_t cache_layer, Matrix x);

}  // namespace dsv3::model
