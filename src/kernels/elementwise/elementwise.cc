#include "kernels/elementwise/elementwise.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/elementwise/elementwise.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "kernels/elementwise/for_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void rms_norm_impl(const float* x, const float* weight, float eps, int64_t n, float* y) {
  const D d;
  V squares = hn::Zero(d);
  for_vectors(n, [&](int64_t i, auto load, auto) HWY_ATTR {
    const V v = load(x + i);
    squares = hn::MulAdd(v, v, squares);
  });
  const float mean = hn::GetLane(hn::SumOfLanes(d, squares)) / static_cast<float>(n);
  const V factor = hn::Set(d, 1.0f / std::sqrt(mean + eps));
  for_vectors(n, [&](int64_t i, auto load, auto store) HWY_ATTR {
    store(hn::Mul(hn::Mul(load(x + i), factor), load(weight + i)), y + i);
  });
}

void swiglu_impl(const float* gate, const float* up, int64_t n, float* y) {
  const D d;
  const V one = hn::Set(d, 1.0f);
  for_vectors(n, [&](int64_t i, auto load, auto store) HWY_ATTR {
    const V g = load(gate + i);
    // Highway's Exp wants arguments below 104; from 88 on the result is 0 in float32 all the same.
    const V e = hn::Exp(d, hn::Min(hn::Neg(g), hn::Set(d, 88.0f)));
    const V silu = hn::Div(g, hn::Add(one, e));
    store(hn::Mul(silu, load(up + i)), y + i);
  });
}

void add_impl(const float* x, int64_t n, float* y) {
  for_vectors(n, [&](int64_t i, auto load, auto store)
                     HWY_ATTR { store(hn::Add(load(y + i), load(x + i)), y + i); });
}

void axpy_impl(float a, const float* x, int64_t n, float* y) {
  const V factor = hn::Set(D(), a);
  for_vectors(n, [&](int64_t i, auto load, auto store)
                     HWY_ATTR { store(hn::MulAdd(factor, load(x + i), load(y + i)), y + i); });
}

void scale_impl(float a, int64_t n, float* y) {
  const V factor = hn::Set(D(), a);
  for_vectors(n, [&](int64_t i, auto load, auto store)
                     HWY_ATTR { store(hn::Mul(factor, load(y + i)), y + i); });
}

float softmax_tile_impl(float* s, int64_t n, float* m, float* l) {
  const D d;
  float maximum = *m;
  for (int64_t j = 0; j < n; ++j) maximum = std::max(maximum, s[j]);
  if (maximum == -std::numeric_limits<float>::infinity()) {
    if (std::none_of(s, s + n, [](float x) { return std::isnan(x); })) {
      std::fill(s, s + n, 0.0f);
      return 1.0f;
    }
    maximum = 0;  // NaN is no masked key: any finite shift lets it through
  }
  const V shift = hn::Set(d, maximum);
  const V minus_infinity = hn::Set(d, -std::numeric_limits<float>::infinity());
  V sum = hn::Zero(d);
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for_vectors(n, [&](int64_t j, auto load, auto store) HWY_ATTR {
    const V x = load(s + j);
    V p = hn::Exp(d, hn::Sub(x, shift));
    p = hn::IfThenZeroElse(hn::Eq(x, minus_infinity), p);
    p = hn::IfThenElse(hn::IsNaN(x), x, p);  // Highway's Exp would make it 0
    if (j + lanes > n) p = hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(n - j)), p);
    store(p, s + j);
    sum = hn::Add(sum, p);
  });
  const float correction = std::exp(*m - maximum);
  *m = maximum;
  *l = *l * correction + hn::GetLane(hn::SumOfLanes(d, sum));
  return correction;
}

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dsv3::kernels {

HWY_EXPORT(rms_norm_impl);
HWY_EXPORT(swiglu_impl);
HWY_EXPORT(add_impl);
HWY_EXPORT(axpy_impl);
HWY_EXPORT(scale_impl);
HWY_EXPORT(softmax_tile_impl);

void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* y) {
  HWY_DYNAMIC_DISPATCH(rms_norm_impl)(x, weight, eps, n, y);
}
void swiglu(const float* gate, const float* up, int64_t n, float* y) {
  HWY_DYNAMIC_DISPATCH(swiglu_impl)(gate, up, n, y);
}
void add(const float* x, int64_t n, float* y) { HWY_DYNAMIC_DISPATCH(add_impl)(x, n, y); }
void axpy(float a, const float* x, int64_t n, float* y) {
  HWY_DYNAMIC_DISPATCH(axpy_impl)(a, x, n, y);
}
void scale(float a, int64_t n, float* y) { HWY_DYNAMIC_DISPATCH(scale_impl)(a, n, y); }
float softmax_tile(float* s, int64_t n, float* m, float* l) {
  return HWY_DYNAMIC_DISPATCH(softmax_tile_impl)(s, n, m, l);
}

// A head has some tens of rotary channels: nothing to gain from vectors here.
void rope(const float* cos, const float* sin, int64_t pairs, bool interleaved, float* x) {
  rope_ref(cos, sin, pairs, interleaved, x);
}

}  // namespace dsv3::kernels
#endif  // HWY_ONCE
