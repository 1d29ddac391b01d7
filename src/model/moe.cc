#include "base/profile.h"
#include "model/layers.h"
#include "ops/router.h"

namespace dsv3::model {

ops::RoutingRule routing_rule(const DeepseekV3Config& c) {
  return {c.n_routed_experts,    c.n_group,        c.topk_group,
          c.num_experts_per_tok, c.norm_topk_prob, static_cast<float>(c.routed_scaling_factor)};
}

void moe(const ForwardContext& context, const MoeWeights& w, int64_t layer, Matrix x, Matrix y) {
  const DeepseekV3Config& c = context.config;
  LayerActivations* const kept = context.kept;
  const ops::Routing routing = [&] {
    const profile::Scope scope(profile::Op::kRouter);
    return ops::route_tokens(x, w.gate, w.e_score_correction_bias.as<float>(), routing_rule(c),
                             kept != nullptr ? &kept->router_logits : nullptr);
  }();
  if (kept != nullptr) kept->routing = routing;
  if (context.observer.routing) context.observer.routing(layer, routing);
  if (context.observer.linear_input) context.observer.linear_input(w.gate, x, {});
  const profile::Scope scope(profile::Op::kFeedForward);
  ops::mixture_of_experts(x, routing, c.num_experts_per_tok, w.experts,
                          c.n_shared_experts > 0 ? &w.shared_experts : nullptr, y,
                          context.options.activations, context.mlp_observer(x),
                          kept != nullptr ? &kept->experts : nullptr);
}

}  // namespace dsv3::model
