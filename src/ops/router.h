#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/linear.h"

namespace dsv3::ops {

/// The rule by which a token's experts are chosen (DeepSeek-V3 report 2.1.2; DeepseekV3MoE).
struct RoutingRule {
  int64_t n_routed_experts = 0;
  int64_t n_group = 1;
  int64_t topk_group = 1;
  int64_t num_experts_per_tok = 1;
  bool norm_topk_prob = true;
  float routed_scaling_factor = 1;
};

/// Which experts each token goes to, and with what weight: [tokens, num_experts_per_tok], experts
/// ascending within a token.
struct Routing {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

/// Chooses the experts of one token from its scores s = sigmoid(router logits), [n_routed_experts].
/// Selection is by s + bias: the topk_group groups with the largest sum of their two best, then the
/// best experts in them. A group that is not chosen counts as -infinity (transformers 5; older
/// versions and DeepSeek's demo differ). The weights are s itself, without the bias, divided by
/// their sum + 1e-20 if norm_topk_prob, times routed_scaling_factor. Of equal scores the lower
/// index wins. If a score is NaN, so are all weights.
void route(std::span<const float> scores, std::span<const float> correction_bias,
           const RoutingRule& rule, std::span<int32_t> experts, std::span<float> weights);

/// Router logits in float32, sigmoid, and `route` for all rows of x [tokens, hidden].
/// gate: [n_routed_experts, hidden]. logits, if not null, receives [tokens, n_routed_experts].
Routing route_tokens(Matrix x, const LinearWeight& gate, std::span<const float> correction_bias,
                     const RoutingRule& rule, std::vector<float>* logits = nullptr);

/// The complementary sequence-wise balance loss (report equations 17 to 20): for each sequence
/// sum_i f_i P_i, which is lowest when its tokens spread over the experts evenly. As in equation 18
/// f_i counts the best scores themselves, without correction bias and groups.
struct SequenceBalance {
  std::span<const int64_t> lengths;  ///< tokens of each sequence of the batch
  double token_weight =
      0;  ///< a sequence's loss counts with this times its length; 0: no such loss
};

/// Gradients of route_tokens, given the logits it gave. d_weights [tokens * num_experts_per_tok]
/// are the gradients of the weights. Adds to dx [tokens, hidden] and to the gradient of the gate,
/// and returns the weighted balance loss, whose gradient is included. The choice itself and the
/// correction bias have none.
double route_tokens_backward(Matrix x, const LinearWeight& gate, const RoutingRule& rule,
                             std::span<const float> logits, const Routing& routing,
                             std::span<const float> d_weights, const SequenceBalance& balance,
                             Matrix dx, LinearWeight& d_gate);

}  // namespace dsv3::ops
