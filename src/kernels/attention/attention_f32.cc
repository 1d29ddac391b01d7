#include <algorithm>
#include <limits>

#include "kernels/attention/attention.h"
#include "kernels/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/attention_f32.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, kLanes>;
using V = hn::Vec<D>;

// Vectors that hold a group, and keys or rows of a register tile. With 16 registers (AVX2) 4 x 2
// accumulators leave room for the operands; with 32 there may be twice as many.
constexpr int kLanesOfVector = static_cast<int>(hn::MaxLanes(D()));
constexpr int kVectors = kLanes / kLanesOfVector;
constexpr bool kManyRegisters = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON;
constexpr int kKeys = kManyRegisters ? 16 / kVectors : std::max(1, 8 / kVectors);
constexpr int kRows = kManyRegisters ? 8 : 4;
constexpr int kColumns = 2;

// M keys against a group.
template <int M>
HWY_INLINE void score_strip(const float* keys, int64_t stride, int64_t channels, const float* q,
                            bool accumulate, const char* next, float* s) {
  const D d;
  V sum[M][kVectors];
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < kVectors; ++v) {
      sum[m][v] = accumulate ? hn::Load(d, s + m * kLanes + v * kLanesOfVector) : hn::Zero(d);
    }
  }
  for (int64_t c = 0; c < channels; ++c) {
    // A line a channel is what a strip of 16 keys needs.
    if (M == 16 && next != nullptr) hwy::Prefetch(next + 64 * c);
    V x[kVectors];
    for (int v = 0; v < kVectors; ++v) x[v] = hn::Load(d, q + c * kLanes + v * kLanesOfVector);
    for (int m = 0; m < M; ++m) {
      const V key = hn::Set(d, keys[m * stride + c]);
      for (int v = 0; v < kVectors; ++v) sum[m][v] = hn::MulAdd(key, x[v], sum[m][v]);
    }
  }
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < kVectors; ++v) hn::Store(sum[m][v], d, s + m * kLanes + v * kLanesOfVector);
  }
}

void scores_f32_impl(const float* keys, int64_t stride, int64_t n, int64_t channels, const float* q,
                     bool accumulate, const float* next, float* s) {
  int64_t k = 0;
  for (; k + kKeys <= n; k += kKeys) {
    const float* following = k + kKeys < n ? keys + (k + kKeys) * stride : next;
    score_strip<kKeys>(keys + k * stride, stride, channels, q, accumulate,
                       reinterpret_cast<const char*>(following), s + k * kLanes);
  }
  for (; k < n; ++k)
    score_strip<1>(keys + k * stride, stride, channels, q, accumulate, nullptr, s + k * kLanes);
}

// R rows times N vectors of columns.
template <int R, int N>
HWY_INLINE void value_block(const float* p, int64_t n, const float* v, int64_t v_stride,
                            const float* correction, float* o) {
  const D d;
  V sum[R][N];
  for (int r = 0; r < R; ++r) {
    const V factor = hn::Set(d, correction[r]);
    for (int j = 0; j < N; ++j)
      sum[r][j] = hn::Mul(factor, hn::Load(d, o + r * kPanel + j * kLanesOfVector));
  }
  for (int64_t k = 0; k < n; ++k) {
    V x[N];
    for (int j = 0; j < N; ++j) x[j] = hn::LoadU(d, v + k * v_stride + j * kLanesOfVector);
    for (int r = 0; r < R; ++r) {
      const V weight = hn::Set(d, p[k * kLanes + r]);
      for (int j = 0; j < N; ++j) sum[r][j] = hn::MulAdd(weight, x[j], sum[r][j]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < N; ++j) hn::Store(sum[r][j], d, o + r * kPanel + j * kLanesOfVector);
  }
}

void values_f32_impl(const float* p, int64_t n, const float* v, int64_t v_stride, int64_t channels,
                     const float* correction, float* o) {
  constexpr int64_t kBlock = kColumns * kLanesOfVector;
  const int64_t end = (channels + kLanes - 1) / kLanes * kLanes;
  for (int64_t c = 0; c < end; c += kBlock) {
    float* panel = o + c / kPanel * kLanes * kPanel + c % kPanel;
    for (int64_t r = 0; r < kLanes; r += kRows) {
      float* to = panel + r * kPanel;
      if (c + kBlock <= end) {
        value_block<kRows, kColumns>(p + r, n, v + c, v_stride, correction + r, to);
      } else {
        value_block<kRows, 1>(p + r, n, v + c, v_stride, correction + r, to);
      }
    }
  }
}

void scale_and_mask_impl(float* s, int64_t n, float scale, const TileMask& mask) {
  const D d;
  const V factor = hn::Set(d, scale);
  constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
  for (int64_t k = 0; k < n; ++k) {
    float* row = s + k * kLanes;
    if (mask.visible != nullptr && mask.visible[k] == 0) {
      std::fill_n(row, kLanes, kMinusInfinity);
      continue;
    }
    for (int v = 0; v < kVectors; ++v) {
      float* x = row + v * kLanesOfVector;
      hn::Store(hn::Mul(factor, hn::Load(d, x)), d, x);
    }
  }
  if (mask.seen == nullptr) return;
  for (int64_t r = 0; r < kLanes; ++r) {
    for (int64_t k = std::max<int64_t>(mask.seen[r], 0); k < n; ++k)
      s[k * kLanes + r] = kMinusInfinity;
  }
}

// e^x for x <= 0, 0 below e^-87. Source of the polynomial: Cephes' expf.
HWY_INLINE V exp_negative(V x) {
  const D d;
  const hn::RebindToSigned<D> di;
  const V n = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504088896341f)));
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  V y = hn::Set(d, 1.9875691500e-4f);
  y = hn::MulAdd(y, r, hn::Set(d, 1.3981999507e-3f));
  y = hn::MulAdd(y, r, hn::Set(d, 8.3334519073e-3f));
  y = hn::MulAdd(y, r, hn::Set(d, 4.1665795894e-2f));
  y = hn::MulAdd(y, r, hn::Set(d, 1.6666665459e-1f));
  y = hn::MulAdd(y, r, hn::Set(d, 5.0000001201e-1f));
  y = hn::Add(hn::MulAdd(hn::Mul(r, r), y, r), hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::ConvertTo(di, n));
  y = hn::BitCast(d, hn::Add(hn::BitCast(di, y), exponent));
  return hn::IfThenElseZero(hn::Gt(x, hn::Set(d, -87.0f)), y);
}

// Chains of maxima and sums that run beside each other: key k belongs to chain k modulo kChains.
constexpr int64_t kChains = 4;

void softmax_lanes_impl(float* s, int64_t n, float* maximum, float* sum, float* correction) {
  const D d;
  const V infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  for (int v = 0; v < kVectors; ++v) {
    const int64_t lane = v * kLanesOfVector;
    const V before = hn::Load(d, maximum + lane);
    V chain[kChains] = {before, before, before, before};
    auto broken = hn::Ne(before, before);  // lanes with NaN or infinity
    const auto see = [&](int64_t k, V& m) HWY_ATTR {
      const V x = hn::Load(d, s + k * kLanes + lane);
      broken = hn::Or(broken, hn::Not(hn::Lt(x, infinity)));
      m = hn::IfThenElse(hn::Gt(x, m), x, m);
    };
    int64_t k = 0;
    for (; k + kChains <= n; k += kChains) {
      see(k, chain[0]);
      see(k + 1, chain[1]);
      see(k + 2, chain[2]);
      see(k + 3, chain[3]);
    }
    for (; k < n; ++k) see(k, chain[0]);
    V m = hn::Max(hn::Max(chain[0], chain[1]), hn::Max(chain[2], chain[3]));
    // A row that has seen no key keeps -infinity, unless what it saw was NaN; it is shifted by 0.
    const V shift =
        hn::IfThenElseZero(hn::And(hn::Gt(m, hn::Neg(infinity)), hn::Lt(m, infinity)), m);
    V total[kChains] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
    const auto weigh = [&](int64_t key, V& t) HWY_ATTR {
      float* x = s + key * kLanes + lane;
      const V p = exp_negative(hn::Sub(hn::Load(d, x), shift));
      hn::Store(p, d, x);
      t = hn::Add(t, p);
    };
    for (k = 0; k + kChains <= n; k += kChains) {
      weigh(k, total[0]);
      weigh(k + 1, total[1]);
      weigh(k + 2, total[2]);
      weigh(k + 3, total[3]);
    }
    // Each to its own chain: a masked key behind the last whole four is like one that is not there.
    if (k < n) weigh(k, total[0]);
    if (k + 1 < n) weigh(k + 1, total[1]);
    if (k + 2 < n) weigh(k + 2, total[2]);
    const V factor = exp_negative(hn::Sub(before, shift));
    V now = hn::MulAdd(hn::Load(d, sum + lane), factor,
                       hn::Add(hn::Add(total[0], total[1]), hn::Add(total[2], total[3])));
    if (!hn::AllFalse(d, broken)) {
      now = hn::IfThenElse(broken, hn::Set(d, std::numeric_limits<float>::quiet_NaN()), now);
      m = hn::IfThenElse(broken, shift, m);
    }
    hn::Store(m, d, maximum + lane);
    hn::Store(now, d, sum + lane);
    hn::Store(factor, d, correction + lane);
  }
}

void merge_lanes_impl(const float* other_maximum, const float* other_sum, const float* other_o,
                      int64_t channels, float* maximum, float* sum, float* o) {
  const D d;
  HWY_ALIGN float mine[kLanes], theirs[kLanes];
  const V infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  for (int v = 0; v < kVectors; ++v) {
    const int64_t lane = v * kLanesOfVector;
    const V a = hn::Load(d, maximum + lane), b = hn::Load(d, other_maximum + lane);
    const V m = hn::Max(a, b);
    const V shift = hn::IfThenElseZero(hn::Gt(m, hn::Neg(infinity)), m);
    const V fa = exp_negative(hn::Sub(a, shift)), fb = exp_negative(hn::Sub(b, shift));
    hn::Store(fa, d, mine + lane);
    hn::Store(fb, d, theirs + lane);
    hn::Store(m, d, maximum + lane);
    hn::Store(hn::MulAdd(hn::Load(d, other_sum + lane), fb, hn::Mul(hn::Load(d, sum + lane), fa)),
              d, sum + lane);
  }
  for (int64_t i = 0; i < channels * kLanes; i += kPanel) {
    const int64_t row = i / kPanel % kLanes;
    const V fa = hn::Set(d, mine[row]), fb = hn::Set(d, theirs[row]);
    for (int64_t j = i; j < i + kPanel; j += kLanesOfVector) {
      const V x = hn::Mul(fa, hn::Load(d, o + j));
      hn::Store(hn::MulAdd(fb, hn::Load(d, other_o + j), x), d, o + j);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dsv3::kernels {

HWY_EXPORT(scores_f32_impl);
HWY_EXPORT(values_f32_impl);
HWY_EXPORT(scale_and_mask_impl);
HWY_EXPORT(softmax_lanes_impl);
HWY_EXPORT(merge_lanes_impl);

void pack_rows_f32(const float* in, int64_t row_stride, int64_t col_stride, int64_t rows,
                   int64_t channels, float* q) {
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t r = 0; r < rows; ++r) q[c * kLanes + r] = in[r * row_stride + c * col_stride];
    std::fill(q + c * kLanes + rows, q + (c + 1) * kLanes, 0.0f);
  }
}

void scores_f32(const float* keys, int64_t key_stride, int64_t n, int64_t channels, const float* q,
                bool accumulate, const float* next, float* s) {
  HWY_DYNAMIC_DISPATCH(scores_f32_impl)(keys, key_stride, n, channels, q, accumulate, next, s);
}

void values_f32(const float* p, int64_t n, const float* v, int64_t v_stride, int64_t channels,
                const float* correction, float* o) {
  HWY_DYNAMIC_DISPATCH(values_f32_impl)(p, n, v, v_stride, channels, correction, o);
}

void scale_and_mask(float* s, int64_t n, float scale, const TileMask& mask) {
  HWY_DYNAMIC_DISPATCH(scale_and_mask_impl)(s, n, scale, mask);
}

void softmax_lanes(float* s, int64_t n, float* maximum, float* sum, float* correction) {
  HWY_DYNAMIC_DISPATCH(softmax_lanes_impl)(s, n, maximum, sum, correction);
}

void merge_lanes(const float* other_maximum, const float* other_sum, const float* other_o,
                 int64_t channels, float* maximum, float* sum, float* o) {
  HWY_DYNAMIC_DISPATCH(merge_lanes_impl)
  (other_maximum, other_sum, other_o, channels, maximum, sum, o);
}

}  // namespace dsv3::kernels
#endif  // HWY_ONCE
