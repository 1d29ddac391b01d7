#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "formats/float_formats.h"
#include "kernels/elementwise/elementwise.h"

namespace dsv3::kernels {

void rms_norm_ref(const float* x, const float* weight, float eps, int64_t n, float* y) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double{x[i]} * x[i];
  const double factor = 1.0 / std::sqrt(sum / static_cast<double>(n) + eps);
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(x[i] * factor * weight[i]);
}

void swiglu_ref(const float* gate, const float* up, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) {
    y[i] = static_cast<float>(gate[i] / (1.0 + std::exp(-double{gate[i]})) * up[i]);
  }
}

void rope_ref(const float* cos, const float* sin, int64_t pairs, bool interleaved, float* x) {
  for (int64_t i = 0; i < pairs; ++i) {
    float& first = x[interleaved ? 2 * i : i];
    float& second = x[interleaved ? 2 * i + 1 : i + pairs];
    const auto [a, b] = std::pair(first, second);
    first = a * cos[i] - b * sin[i];
    second = b * cos[i] + a * sin[i];
  }
}

float softmax_tile_ref(float* s, int64_t n, float* m, float* l) {
  float maximum = *m;
  for (int64_t j = 0; j < n; ++j) maximum = std::max(maximum, s[j]);
  if (maximum == -std::numeric_limits<float>::infinity()) {
    if (std::none_of(s, s + n, [](float x) { return std::isnan(x); })) {
      std::fill(s, s + n, 0.0f);
      return 1.0f;
    }
    maximum = 0;  // NaN is no masked key: any finite shift lets it through
  }
  double sum = 0;
  for (int64_t j = 0; j < n; ++j) sum += s[j] = std::exp(s[j] - maximum);
  const float correction = std::exp(*m - maximum);
  *m = maximum;
  *l = static_cast<float>(*l * double{correction} + sum);
  return correction;
}

void quantize_dequantize_e4m3(const float* x, int64_t n, int64_t group, bool power_of_two, float* y,
                              uint8_t* codes, float* scales) {
  for (int64_t begin = 0, g = 0; begin < n; begin += group, ++g) {
    const int64_t end = std::min(n, begin + group);
    float amax = 0;
    for (int64_t i = begin; i < end; ++i) amax = std::max(amax, std::fabs(x[i]));
    float s = amax / formats::kE4M3Max;
    if (power_of_two && s > 0) s = std::exp2(std::ceil(std::log2(s)));
    if (scales != nullptr) scales[g] = s;
    for (int64_t i = begin; i < end; ++i) {
      // A group of zeros has scale 0 and stays zero. NaN survives: it is not equal to zero.
      const uint8_t code = s == 0 && x[i] == 0 ? 0 : formats::float_to_e4m3(x[i] / s);
      if (codes != nullptr) codes[i] = code;
      y[i] = formats::e4m3_to_float(code) * s;
    }
  }
}

}  // namespace dsv3::kernels
