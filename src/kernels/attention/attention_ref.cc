#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention/attention.h"

namespace dsv3::kernels {

void scores_ref(const float* keys, int64_t key_stride, int64_t n, int64_t channels, const float* q,
                bool accumulate, float* s) {
  for (int64_t k = 0; k < n; ++k) {
    for (int64_t r = 0; r < kLanes; ++r) {
      double sum = accumulate ? s[k * kLanes + r] : 0.0;
      for (int64_t c = 0; c < channels; ++c)
        sum += double{keys[k * key_stride + c]} * q[c * kLanes + r];
      s[k * kLanes + r] = static_cast<float>(sum);
    }
  }
}

void values_ref(const float* p, int64_t n, const float* v, int64_t v_stride, int64_t channels,
                const float* correction, float* o) {
  for (int64_t r = 0; r < kLanes; ++r) {
    for (int64_t c = 0; c < channels; ++c) {
      float& element = o[(c / kPanel * kLanes + r) * kPanel + c % kPanel];
      double sum = double{correction[r]} * element;
      for (int64_t k = 0; k < n; ++k) sum += double{p[k * kLanes + r]} * v[k * v_stride + c];
      element = static_cast<float>(sum);
    }
  }
}

void softmax_lanes_ref(float* s, int64_t n, float* maximum, float* sum, float* correction) {
  for (int64_t r = 0; r < kLanes; ++r) {
    float m = maximum[r];
    bool broken = false;
    for (int64_t k = 0; k < n; ++k) {
      const float x = s[k * kLanes + r];
      broken = broken || std::isnan(x) || (std::isinf(x) && x > 0);
      m = std::max(m, x);
    }
    const double shift = std::isinf(m) ? 0.0 : double{m};
    double total = 0;
    for (int64_t k = 0; k < n; ++k) {
      const double p = std::exp(s[k * kLanes + r] - shift);
      s[k * kLanes + r] = static_cast<float>(p);
      total += p;
    }
    const double factor = std::exp(maximum[r] - shift);
    sum[r] = broken ? std::numeric_limits<float>::quiet_NaN()
                    : static_cast<float>(sum[r] * factor + total);
    correction[r] = static_cast<float>(factor);
    maximum[r] = broken ? static_cast<float>(shift) : m;
  }
}

}  // namespace dsv3::kernels
