// The two halves of a decoder layer, as the forward pass and the MTP modules use them.
#pragma once

#include "model/deepseek_v3.h"

namespace dsv3::model {

/// DeepseekV3RMSNorm's default: the norms inside attention do not take rms_norm_eps.
inline constexpr float kLatentNormEps = 1e-6f;

/// What all layers of one forward pass share.
struct ForwardContext {
  const DeepseekV3Config& config;
  const ComputeOptions& options;
  std::span<const BatchSequence> sequences;
  ops::MlaShape mla_shape;
  ops::RotaryTable rotary;
  const ForwardObserver& observer;
  LayerActivations* kept = nullptr;  ///< of the layer at hand; null: nobody will go back

  ForwardContext(const DeepseekV3Config& c, const ComputeOptions& o, const RaggedBatch& batch,
                 const ForwardObserver& obs);

  /// Where an intermediate result goes: into what is kept, or if that has no room for it, to
  /// `other`.
  Matrix kept_or(Matrix LayerActivations::*which, Matrix other) const {
    return kept != nullptr && (kept->*which).data != nullptr ? kept->*which : other;
  }
  /// y = x W^T + b, seen by the observer.
  void linear(Matrix x, const ops::LinearWeight& w, Matrix y) const;
  /// For networks whose input is x; empty if nobody observes.
  ops::MlpObserver mlp_observer(Matrix x) const;
};

ops::MlaShape mla_shape(const DeepseekV3Config& config, ops::Activations activations);

/// to = x, row by row.
void copy_rows(Matrix x, Matrix to);

/// y = attention(x), [tokens, hidden]; writes the new tokens' latents to `cache_layer` of the
/// caches. `layer` is what the observer is told.
void latent_attention(const ForwardContext& context, const MlaWeights& w, int64_t layer,
                      int64_t cache_layer, Matrix x, Matrix y);

ops::RoutingRule routing_rule(const DeepseekV3Config& config);

/// y = experts(x) with routing, shared expert included.
void moe(const ForwardContext& context, const MoeWeights& w, int64_t layer, Matrix x, Matrix y);

/// x += attention(norm(x)); x += feed-forward(norm(x)).
void decoder_layer(const ForwardContext& context, const LayerWeights& w, int64_t layer,
                   int64_t cache_layer, Matrix x);

}  // namespace dsv3::model
