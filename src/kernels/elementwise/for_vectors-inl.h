// A loop over the vectors of a row. Included once per instruction set (see kernels/simd.h).
#if defined(DSV3_KERNELS_FOR_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DSV3_KERNELS_FOR_VECTORS_INL_H_
#undef DSV3_KERNELS_FOR_VECTORS_INL_H_
#else
#define DSV3_KERNELS_FOR_VECTORS_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// Calls f(i, load, store) for whole vectors and once for a zero-padded last one, so that every
// element goes through the same instructions wherever it stands.
template <class F>
HWY_INLINE void for_vectors(int64_t n, F&& f) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    f(
        i, [&](const float* p) HWY_ATTR { return hn::LoadU(d, p); },
        [&](V v, float* p) HWY_ATTR { hn::StoreU(v, d, p); });
  }
  if (i < n) {
    const auto rest = static_cast<size_t>(n - i);
    f(
        i,
        [&](const float* p) HWY_ATTR {
          HWY_ALIGN float buffer[hn::MaxLanes(D())] = {};
          std::copy(p, p + rest, buffer);
          return hn::Load(d, buffer);
        },
        [&](V v, float* p) HWY_ATTR {
          HWY_ALIGN float buffer[hn::MaxLanes(D())];
          hn::Store(v, d, buffer);
          std::copy(buffer, buffer + rest, p);
        });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
