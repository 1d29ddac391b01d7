#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace dsv3::model {
namespace {

double yarn_mscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

// theta^(-2i / dim), with the exponent and the power rounded to float32 as transformers has them.
std::vector<float> base_frequencies(double theta, int64_t dim) {
  std::vector<float> frequencies(dim / 2);
  for (int64_t i = 0; i < dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    frequencies[i] = 1.0f / static_cast<float>(std::pow(theta, double{exponent}));
  }
  return frequencies;
}

// The channel pair that turns `rotations` times over the original context.
double correction_dim(double rotations, int64_t dim, double theta, double context) {
  return static_cast<double>(dim) * std::log(context / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(theta));
}

RopeFrequencies yarn(const DeepseekV3Config& config) {
  const RopeParameters& p = config.rope_parameters;
  const int64_t dim = config.qk_rope_head_dim;
  const auto context = static_cast<double>(
      p.original_max_position_embeddings.value_or(config.max_position_embeddings));
  double low = correction_dim(p.beta_fast, dim, p.rope_theta, context);
  double high = correction_dim(p.beta_slow, dim, p.rope_theta, context);
  if (p.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;

  RopeFrequencies result;
  result.inv_freq = base_frequencies(p.rope_theta, dim);
  for (int64_t i = 0; i < dim / 2; ++i) {
    // 0: fast pairs, kept; 1: slow pairs, positions interpolated.
    const auto ramp =
        static_cast<float>(std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0));
    const float kept = result.inv_freq[i], interpolated = kept / static_cast<float>(p.factor);
    result.inv_freq[i] = interpolated * ramp + kept * (1 - ramp);
  }
  if (p.attention_factor) {
    result.attention_scaling = static_cast<float>(*p.attention_factor);
  } else if (p.mscale.value_or(0) != 0 && p.mscale_all_dim.value_or(0) != 0) {
    result.attention_scaling = static_cast<float>(yarn_mscale(p.factor, *p.mscale) /
                                                  yarn_mscale(p.factor, *p.mscale_all_dim));
  } else {
    result.attention_scaling = static_cast<float>(yarn_mscale(p.factor, 1));
  }
  return result;
}

}  // namespace

RopeFrequencies rope_frequencies(const DeepseekV3Config& config, int64_t sequence_length) {
  const RopeParameters& p = config.rope_parameters;
  const int64_t dim = config.qk_rope_head_dim;
  if (p.rope_type == "yarn") return yarn(config);
  RopeFrequencies result;
  double theta = p.rope_theta;
  if (p.rope_type == "dynamic") {
    // Neural-tangent-kernel scaling: the base grows with the sequence beyond the trained length.
    const auto trained = static_cast<double>(config.max_position_embeddings);
    const double length = std::max(static_cast<double>(sequence_length), trained);
    theta *= std::pow(p.factor * length / trained - (p.factor - 1),
                      static_cast<double>(dim) / static_cast<double>(dim - 2));
  } else if (p.rope_type != "default" && p.rope_type != "linear") {
    fail("rope_type '{}' is not supported (default, linear, dynamic, yarn)", p.rope_type);
  }
  result.inv_freq = base_frequencies(theta, dim);
  if (p.rope_type == "linear") {
    for (float& f : result.inv_freq) f /= static_cast<float>(p.factor);
  }
  return result;
}

float softmax_scale(const DeepseekV3Config& config) {
  const RopeParameters& p = config.rope_parameters;
  double scale = 1.0 / std::sqrt(static_cast<double>(config.qk_head_dim()));
  if (p.rope_type != "default" && p.mscale_all_dim.value_or(0) != 0) {
    const double m = yarn_mscale(p.factor, *p.mscale_all_dim);
    scale *= m * m;
  }
  return static_cast<float>(scale);
}

}  // namespace dsv3::model
