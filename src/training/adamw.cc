#include "training/adamw.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
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

namespace {

// Runs of gradients that are one tensor in transformers: gate_up_proj and down_proj of all experts
// of a layer, everything else by itself.
std::vector<std::vector<std::span<const float>>> torch_tensors(const Parameters& parameters) {
  std::vector<std::vector<std::span<const float>>> tensors;
  std::map<std::string, size_t> packed;
  for (const Parameter& p : parameters.all()) {
    const auto values = parameters.gradient().subspan(p.begin, p.count);
    const size_t experts = p.name.find(".mlp.experts.");
    if (experts == std::string::npos) {
      tensors.push_back({values});
      continue;
    }
    const bool down = p.name.ends_with(".down_proj.weight");
    const std::string name = p.name.substr(0, experts) + (down ? ".down" : ".gate_up");
    const auto [it, added] = packed.emplace(name, tensors.size());
    if (added) tensors.emplace_back();
    tensors[it->second].push_back(values);
  }
  return tensors;
}

float torch_norm(std::span<const std::span<const float>> runs) {
  constexpr size_t kLanes = 8;
  float lanes[kLanes] = {};
  std::vector<float> rest;  // what has not filled the lanes yet
  const auto add = [&](const float* x) {
    for (size_t j = 0; j < kLanes; ++j) {
      const float square = x[j] * x[j];
      lanes[j] += square;
    }
  };
  for (std::span<const float> run : runs) {
    while (!rest.empty() && rest.size() < kLanes && !run.empty()) {
      rest.push_back(run.front());
      run = run.subspan(1);
    }
    if (rest.size() == kLanes) {
      add(rest.data());
      rest.clear();
    }
    for (; run.size() >= kLanes; run = run.subspan(kLanes)) add(run.data());
    rest.insert(rest.end(), run.begin(), run.end());
  }
  float sum = lanes[0];
  for (size_t j = 1; j < kLanes; ++j) sum += lanes[j];
  for (const float x : rest) sum += x * x;
  return std::sqrt(sum);
}

}  // namespace

double torch_gradient_norm(const Parameters& parameters) {
  const auto tensors = torch_tensors(parameters);
  std::vector<float> norms(tensors.size());
  thread_pool().parallel_for(static_cast<int64_t>(norms.size()),
                             [&](int64_t i) { norms[i] = torch_norm(tensors[i]); });
  const std::span<const float> all = norms;
  return torch_norm({&all, 1});
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
