#include "training/adamw.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/elementwise/elementwise_backward.h"

namespace dsv3::training {
namespace {

constexpr int64_t kPart = int64_t{1} << 16;  // elements that are a task

}  // namespace

double gradient_norm(const Parameters& parameters) {
  const std::span<const float> g = parameters.gradient();
  const auto n = static_cast<int64_t>(g.size());
  std::vector<double> parts((n + kPart - 1) / kPart);
  thread_pool().parallel_for(static_cast<int64_t>(parts.size()), [&](int64_t i) {
    parts[i] = kernels::sum_of_squares(g.data() + i * kPart, std::min(kPart, n - i * kPart));
  });
  return std::sqrt(std::accumulate(parts.begin(), parts.end(), 0.0));
}

std::string first_not_finite(const Parameters& parameters) {
  const std::span<const float> g = parameters.gradient();
  for (const Parameter& p : parameters.all()) {
    for (int64_t i = 0; i < p.count; ++i) {
      const float x = g[p.begin + i];
      if (!std::isfinite(x)) return fmt::format("gradient of {}, element {}: {}", p.name, i, x);
    }
  }
  return "";
}

void adamw_step(const AdamWOptions& options, int64_t step, double learning_rate,
                double gradient_scale, Parameters& parameters) {
  const auto t = static_cast<double>(step);
  kernels::AdamWStep s{
      .gradient_scale = static_cast<float>(gradient_scale),
      .beta1 = static_cast<float>(options.beta1),
      .beta2 = static_cast<float>(options.beta2),
      .eps = static_cast<float>(options.eps),
      .step_size = static_cast<float>(learning_rate / (1 - std::pow(options.beta1, t))),
      .v_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(options.beta2, t)))};
  struct Task {
    const Parameter* parameter;
    int64_t begin, end;
  };
  std::vector<Task> tasks;
  for (const Parameter& p : parameters.all()) {
    for (int64_t i = 0; i < p.count; i += kPart)
      tasks.push_back({&p, i, std::min(p.count, i + kPart)});
  }
  thread_pool().parallel_for(static_cast<int64_t>(tasks.size()), [&](int64_t i) {
    const auto& [p, begin, end] = tasks[i];
    kernels::AdamWStep own = s;
    if (!p->vector || options.decay_vectors)
      own.lr_decay = static_cast<float>(learning_rate * options.weight_decay);
    const int64_t at = p->begin + begin;
    uint16_t* bf16 = parameters.bf16(*p);
    kernels::adamw(own, end - begin, parameters.gradient().data() + at,
                   parameters.masters().data() + at, parameters.moment1().data() + at,
                   parameters.moment2().data() + at, bf16 == nullptr ? nullptr : bf16 + begin);
  });
}

}  // namespace dsv3::training
