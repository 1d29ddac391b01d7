#include "ops/router.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/scratch.h"

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

namespace {

float sigmoid(float x) { return static_cast<float>(1.0 / (1.0 + std::exp(-double{x}))); }

// d_scores of one token from the gradients of its weights w = s / (sum + 1e-20) * factor.
void route_backward(std::span<const float> scores, std::span<const int32_t> experts,
                    const RoutingRule& rule, std::span<const float> d_weights,
                    std::span<double> d_scores) {
  double sum = 1e-20, along = 0;
  for (size_t i = 0; i < experts.size(); ++i) {
    const double s = scores[experts[i]];
    sum += s;
    along += d_weights[i] * s;
  }
  for (size_t i = 0; i < experts.size(); ++i) {
    const double d = d_weights[i];
    d_scores[experts[i]] +=
        (rule.norm_topk_prob ? (d - along / sum) / sum : d) * rule.routed_scaling_factor;
  }
}

// f_i: how often each expert is among the num_experts_per_tok with the best scores s, 1 on average.
std::vector<double> best_frequencies(std::span<const float> logits, const RoutingRule& rule) {
  const int64_t n = rule.n_routed_experts, k = rule.num_experts_per_tok;
  const int64_t tokens = static_cast<int64_t>(logits.size()) / n;
  std::vector<double> f(n);
  std::vector<int32_t> order(n), best(k);
  for (int64_t t = 0; t < tokens; ++t) {
    top_k(logits.subspan(t * n, n), k, order, best);
    for (const int32_t e : best) f[e] += static_cast<double>(n) / static_cast<double>(k * tokens);
  }
  return f;
}

// Adds the gradient of token_weight * sum_i f_i s_i / sum(s) of one token; returns that.
double balance_backward(std::span<const float> scores, std::span<const double> f,
                        double token_weight, std::span<double> d_scores) {
  double sum = 0, along = 0;
  for (size_t e = 0; e < scores.size(); ++e) {
    sum += scores[e];
    along += f[e] * scores[e];
  }
  if (sum == 0) return 0;
  for (size_t e = 0; e < scores.size(); ++e)
    d_scores[e] += token_weight * (f[e] - along / sum) / sum;
  return token_weight * along / sum;
}

}  // namespace

double route_tokens_backward(Matrix x, const LinearWeight& gate, const RoutingRule& rule,
                             std::span<const float> logits, const Routing& routing,
                             std::span<const float> d_weights, const SequenceBalance& balance,
                             Matrix dx, LinearWeight& d_gate) {
  static thread_local kernels::Scratch scratch;
  const int64_t n = rule.n_routed_experts, k = rule.num_experts_per_tok;
  std::vector<std::vector<double>> frequencies;
  std::vector<int64_t> sequence_of;
  if (balance.token_weight != 0) {
    for (const int64_t length : balance.lengths) {
      frequencies.push_back(
          best_frequencies(logits.subspan(sequence_of.size() * n, length * n), rule));
      sequence_of.insert(sequence_of.end(), length, static_cast<int64_t>(frequencies.size()) - 1);
    }
  }
  const Matrix d_logits(scratch.get(x.rows * n), x.rows, n);
  std::vector<double> losses(x.rows, 0.0);
  thread_pool().parallel_for(x.rows, [&](int64_t t) {
    static thread_local std::vector<float> scores;
    static thread_local std::vector<double> d_scores;
    scores.resize(n);
    d_scores.assign(n, 0.0);
    for (int64_t e = 0; e < n; ++e) scores[e] = sigmoid(logits[t * n + e]);
    route_backward(scores, std::span(routing.experts).subspan(t * k, k), rule,
                   d_weights.subspan(t * k, k), d_scores);
    if (!sequence_of.empty()) {
      losses[t] =
          balance_backward(scores, frequencies[sequence_of[t]], balance.token_weight, d_scores);
    }
    for (int64_t e = 0; e < n; ++e) {
      d_logits.row(t)[e] = static_cast<float>(d_scores[e] * scores[e] * (1.0 - scores[e]));
    }
  });
  linear_backward(x, gate, d_logits, true, dx, d_gate);
  return std::accumulate(losses.begin(), losses.end(), 0.0);
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
    static thread_local std::vector<float> of_token;
    of_token.resize(n);
    for (int64_t e = 0; e < n; ++e) of_token[e] = sigmoid(scores[t * n + e]);
    route(of_token, correction_bias, rule, std::span(routing.experts).subspan(t * k, k),
          std::span(routing.weights).subspan(t * k, k));
  });
  return routing;
}

}  // namespace dsv3::ops
