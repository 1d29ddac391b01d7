#include "kernels/elementwise/elementwise_backward.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "formats/float_formats.h"
#include "kernels/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/elementwise/elementwise_backward.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "kernels/elementwise/for_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// e^x, 0 for x = -infinity, NaN for NaN; Highway's Exp wants arguments within float32's range.
HWY_INLINE V exp_of(V x) {
  const D d;
  const V e = hn::Exp(d, hn::Max(x, hn::Set(d, -104.0f)));
  return hn::IfThenElse(hn::IsNaN(x), x, e);
}

void rms_norm_backward_impl(const float* x, const float* weight, float eps, const float* dy,
                            int64_t n, bool accumulate, float* dx, float* dweight) {
  const D d;
  V squares = hn::Zero(d), products = hn::Zero(d);
  for_vectors(n, [&](int64_t i, auto load, auto) HWY_ATTR {
    const V v = load(x + i);
    squares = hn::MulAdd(v, v, squares);
    products = hn::MulAdd(hn::Mul(load(dy + i), load(weight + i)), v, products);
  });
  const auto count = static_cast<float>(n);
  const float r = 1.0f / std::sqrt(hn::GetLane(hn::SumOfLanes(d, squares)) / count + eps);
  // y = x r w, r = (mean(x^2) + eps)^(-1/2), so dr/dx = -r^3 x / n.
  const V factor = hn::Set(d, r);
  const V along_x = hn::Set(d, -r * r * r / count * hn::GetLane(hn::SumOfLanes(d, products)));
  for_vectors(n, [&](int64_t i, auto load, auto store) HWY_ATTR {
    const V v = load(x + i), g = hn::Mul(load(dy + i), factor);
    store(hn::MulAdd(g, v, load(dweight + i)), dweight + i);
    V gradient = hn::MulAdd(along_x, v, hn::Mul(g, load(weight + i)));
    if (accumulate) gradient = hn::Add(load(dx + i), gradient);
    store(gradient, dx + i);
  });
}

float swiglu_backward_impl(float* gate, float* up, const float* dy, float scale, int64_t n,
                           float* y) {
  const D d;
  const V one = hn::Set(d, 1.0f), weight = hn::Set(d, scale);
  V sum = hn::Zero(d);
  for_vectors(n, [&](int64_t i, auto load, auto store) HWY_ATTR {
    const V g = load(gate + i), u = load(up + i), gradient = load(dy + i);
    const V e = hn::Exp(d, hn::Min(hn::Neg(g), hn::Set(d, 88.0f)));
    const V sigmoid = hn::Div(one, hn::Add(one, e));
    const V silu = hn::Mul(g, sigmoid);
    const V out = hn::Mul(silu, u);
    store(out, y + i);
    sum = hn::MulAdd(out, gradient, sum);
    const V scaled = hn::Mul(weight, gradient);
    store(hn::Mul(scaled, silu), up + i);
    // silu' = sigmoid + silu (1 - sigmoid)
    const V slope = hn::MulAdd(silu, hn::Sub(one, sigmoid), sigmoid);
    store(hn::Mul(hn::Mul(scaled, u), slope), gate + i);
  });
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

void attention_weights_backward_impl(float* s, float* dp, float scale, float log_sum_exp,
                                     float delta, int64_t n) {
  const D d;
  const V factor = hn::Set(d, scale), shift = hn::Set(d, log_sum_exp), mean = hn::Set(d, delta);
  for_vectors(n, [&](int64_t j, auto load, auto store) HWY_ATTR {
    const V p = exp_of(hn::MulSub(load(s + j), factor, shift));
    store(p, s + j);
    store(hn::Mul(hn::Mul(p, factor), hn::Sub(load(dp + j), mean)), dp + j);
  });
}

// The largest of x, NaN left out of account (the sum of the exponentials brings it back).
HWY_INLINE float largest(const float* x, int64_t n) {
  float maximum = -std::numeric_limits<float>::infinity();
  const D d;
  V lanes = hn::Set(d, maximum);
  const auto step = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + step <= n; i += step) lanes = hn::Max(lanes, hn::LoadU(d, x + i));
  maximum = hn::GetLane(hn::MaxOfLanes(d, lanes));
  for (; i < n; ++i) maximum = std::max(maximum, x[i]);
  return maximum;
}

// exp(x - maximum) to `to` if it is not null; returns the sum, in double from vector to vector of a
// segment, since a vocabulary is long.
HWY_INLINE double sum_exp(const float* x, int64_t n, float maximum, float* to) {
  const D d;
  const V shift = hn::Set(d, maximum);
  double total = 0;
  constexpr int64_t kSegment = 1024;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t begin = 0; begin < n; begin += kSegment) {
    const int64_t count = std::min(kSegment, n - begin);
    V sum = hn::Zero(d);
    for_vectors(count, [&](int64_t i, auto load, auto store) HWY_ATTR {
      V e = exp_of(hn::Sub(load(x + begin + i), shift));
      if (i + lanes > count) {
        e = hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(count - i)), e);
      }
      if (to != nullptr) store(e, to + begin + i);
      sum = hn::Add(sum, e);
    });
    total += hn::GetLane(hn::SumOfLanes(d, sum));
  }
  return total;
}

float cross_entropy_row_impl(const float* x, int64_t n, int64_t label) {
  const float maximum = largest(x, n);
  return static_cast<float>(std::log(sum_exp(x, n, maximum, nullptr)) +
                            (double{maximum} - x[label]));
}

float cross_entropy_backward_impl(float* x, int64_t n, int64_t label, float factor) {
  const float maximum = largest(x, n), at_label = x[label];
  const double sum = sum_exp(x, n, maximum, x);
  const V scale = hn::Set(D(), static_cast<float>(factor / sum));
  for_vectors(n, [&](int64_t i, auto load, auto store)
                     HWY_ATTR { store(hn::Mul(load(x + i), scale), x + i); });
  x[label] -= factor;
  return static_cast<float>(std::log(sum) + (double{maximum} - at_label));
}

float dot_impl(const float* x, const float* y, int64_t n) {
  V sum = hn::Zero(D());
  for_vectors(n, [&](int64_t i, auto load, auto)
                     HWY_ATTR { sum = hn::MulAdd(load(x + i), load(y + i), sum); });
  return hn::GetLane(hn::SumOfLanes(D(), sum));
}

void adamw_impl(const AdamWStep& step, int64_t n, const float* gradient, float* w, float* m,
                float* v, uint16_t* bf16) {
  const D d;
  const V scale = hn::Set(d, step.gradient_scale), beta1 = hn::Set(d, step.beta1),
          beta2 = hn::Set(d, step.beta2), eps = hn::Set(d, step.eps),
          rest1 = hn::Set(d, 1 - step.beta1), rest2 = hn::Set(d, 1 - step.beta2),
          size = hn::Set(d, step.step_size), correction = hn::Set(d, step.v_correction),
          decay = hn::Set(d, step.lr_decay);
  for_vectors(n, [&](int64_t i, auto load, auto store) HWY_ATTR {
    const V g = hn::Mul(load(gradient + i), scale);
    const V m_new = hn::MulAdd(load(m + i), beta1, hn::Mul(rest1, g));
    const V v_new = hn::MulAdd(load(v + i), beta2, hn::Mul(rest2, hn::Mul(g, g)));
    store(m_new, m + i);
    store(v_new, v + i);
    V x = load(w + i);
    x = hn::NegMulAdd(decay, x, x);
    const V root = hn::MulAdd(hn::Sqrt(v_new), correction, eps);
    x = hn::NegMulAdd(size, hn::Div(m_new, root), x);
    store(x, w + i);
  });
  if (bf16 == nullptr) return;
  for (int64_t i = 0; i < n; ++i) bf16[i] = formats::float_to_bf16(w[i]);
}

double sum_of_squares_impl(const float* x, int64_t n) {
  const D d;
  constexpr int64_t kSegment = 4096;
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kSegment) {
    V sum = hn::Zero(d);
    for_vectors(std::min(kSegment, n - begin), [&](int64_t i, auto load, auto) HWY_ATTR {
      const V v = load(x + begin + i);
      sum = hn::MulAdd(v, v, sum);
    });
    total += hn::GetLane(hn::SumOfLanes(d, sum));
  }
  return total;
}

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dsv3::kernels {

HWY_EXPORT(rms_norm_backward_impl);
HWY_EXPORT(swiglu_backward_impl);
HWY_EXPORT(attention_weights_backward_impl);
HWY_EXPORT(cross_entropy_row_impl);
HWY_EXPORT(cross_entropy_backward_impl);
HWY_EXPORT(dot_impl);
HWY_EXPORT(adamw_impl);
HWY_EXPORT(sum_of_squares_impl);

void rms_norm_backward(const float* x, const float* weight, float eps, const float* dy, int64_t n,
                       bool accumulate, float* dx, float* dweight) {
  HWY_DYNAMIC_DISPATCH(rms_norm_backward_impl)(x, weight, eps, dy, n, accumulate, dx, dweight);
}
float swiglu_backward(float* gate, float* up, const float* dy, float scale, int64_t n, float* y) {
  return HWY_DYNAMIC_DISPATCH(swiglu_backward_impl)(gate, up, dy, scale, n, y);
}
void attention_weights_backward(float* s, float* dp, float scale, float log_sum_exp, float delta,
                                int64_t n) {
  HWY_DYNAMIC_DISPATCH(attention_weights_backward_impl)(s, dp, scale, log_sum_exp, delta, n);
}
float cross_entropy_row(const float* x, int64_t n, int64_t label) {
  return HWY_DYNAMIC_DISPATCH(cross_entropy_row_impl)(x, n, label);
}
float cross_entropy_backward(float* x, int64_t n, int64_t label, float factor) {
  return HWY_DYNAMIC_DISPATCH(cross_entropy_backward_impl)(x, n, label, factor);
}
float dot(const float* x, const float* y, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(dot_impl)(x, y, n);
}
void adamw(const AdamWStep& step, int64_t n, const float* gradient, float* w, float* m, float* v,
           uint16_t* bf16) {
  HWY_DYNAMIC_DISPATCH(adamw_impl)(step, n, gradient, w, m, v, bf16);
}
double sum_of_squares(const float* x, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(sum_of_squares_impl)(x, n);
}

}  // namespace dsv3::kernels
#endif  // HWY_ONCE
