#include "ops/router.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/thread_pool.h"

namespace dsv3::ops {
namespace {

// Indices of the k largest values, ties to the lower index, in ascending order of index. NaN is
// never preferred to a number.
void top_k(std::span<const float> values, int64_t k, std::span<int32_t> order,
           std::span<int32_t> best) {
  for (size_t i = 0; i < values.size(); ++i) order[i] = static_cast<int32_t>(i);
  const auto rank = [&](int32_t i) {
    return std::isnan(values[i]) ? -std::numeric_limits<float>::infinity() : values[i];
  };
  std::partial_sort(
      order.begin(), order.begin() + k, order.begin() + static_cast<int64_t>(values.size()),
      [&](int32_t a, int32_t b) { return rank(a) > rank(b) || (rank(a) == rank(b) && a < b); });
  std::copy(order.begin(), order.begin() + k, best.begin());
  std::sort(best.begin(), best.begin() + k);
}

}  // namespace

void route(std::span<const float> scores, std::span<const float> correction_bias,
           const RoutingRule& rule, std::span<int32_t> experts, std::span<float> weights) {
  const int64_t n = rule.n_routed_experts, group_size = n / rule.n_group;
  constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
  static thread_local std::vector<float> choice, group_scores;
  static thread_local std::vector<int32_t> order, groups;
  choice.resize(n);
  order.resize(n);
  for (int64_t e = 0; e < n; ++e) choice[e] = scores[e] + correction_bias[e];

  if (rule.topk_group < rule.n_group) {
    group_scores.resize(rule.n_group);
    groups.resize(rule.n_group);
    for (int64_t g = 0; g < rule.n_group; ++g) {
      float first = kMinusInfinity, second = kMinusInfinity;
      for (int64_t e = g * group_size; e < (g + 1) * group_size; ++e) {
        second = std::max(second, std::min(first, choice[e]));
        first = std::max(first, choice[e]);
      }
      group_scores[g] = first + second;
    }
    top_k(group_scores, rule.topk_group, order, groups);
    size_t kept = 0;
    for (int64_t g = 0; g < rule.n_group; ++g) {
      if (kept < static_cast<size_t>(rule.topk_group) && groups[kept] == g) {
        ++kept;
      } else {
        std::fill_n(choice.begin() + g * group_size, group_size, kMinusInfinity);
      }
    }
  }
  top_k(choice, rule.num_experts_per_tok, order, experts);

  // transformers sorts NaN above all numbers, so that it is chosen and shows in the output. Here an
  // expert whose score is NaN would just never be chosen, which nobody would notice.
  if (std::any_of(scores.begin(), scores.end(), [](float s) { return std::isnan(s); })) {
    std::fill(weights.begin(), weights.end(), std::numeric_limits<float>::quiet_NaN());
    return;
  }
  float sum = 0;
  for (int64_t i = 0; i < rule.num_experts_per_tok; ++i) sum += weights[i] = scores[experts[i]];
  const float divisor = rule.norm_topk_prob ? sum + 1e-20f : 1.0f;
  for (int64_t i = 0; i < rule.num_experts_per_tok; ++i) {
    weights[i] = weights[i] / divisor * rule.routed_scaling_factor;
  }
}

Routing route_tokens(Matrix x, const LinearWeight& gate, std::span<const float> correction_bias,
                     const RoutingRule& rule, std::vector<float>* logits) {
  const int64_t n = rule.n_routed_experts, k = rule.num_experts_per_tok;
  std::vector<float> own;
  std::vector<float>& scores = logits != nullptr ? *logits : own;
  scores.resize(x.rows * n);
  linear(x, gate, Matrix(scores.data(), x.rows, n));
  Routing routing{std::vector<int32_t>(x.rows * k), std::vector<float>(x.rows * k)};
  thread_pool().parallel_for(x.rows, [&](int64_t t) {
    static thread_local std::vector<float> sigmoid;
    sigmoid.resize(n);
    for (int64_t e = 0; e < n; ++e) {
      sigmoid[e] = static_cast<float>(1.0 / (1.0 + std::exp(-double{scores[t * n + e]})));
    }
    route(sigmoid, correction_bias, rule, std::span(routing.experts).subspan(t * k, k),
          std::span(routing.weights).subspan(t * k, k));
  });
  return routing;
}

}  // namespace dsv3::ops
