// Products of float32 panels: where there are no instructions for narrower ones.
#include <algorithm>

#include "kernels/gemm/gemm.h"
#include "kernels/packed/panel_products.h"
#include "kernels/scratch.h"
#include "kernels/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/packed/f32_panel.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, kPanelRows>;
using V = hn::Vec<D>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
constexpr int kVectors = static_cast<int>(kPanelRows) / kLanes;  // of a panel's 16 rows

// Rows of W that share what is loaded of a panel: as many sums as there are registers for.
constexpr int kTile = (HWY_TARGET == HWY_AVX3)                             ? 12
                      : (HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_NEON) ? 6
                                                                           : 2;
// Rows of W that are decoded together, and columns after which a sum is put aside: one long chain
// of additions would be less accurate.
constexpr int64_t kDecodedRows = 24;
constexpr int64_t kSegment = 512;

// C^T[row, 0..16) += N rows of W times `count` columns of a panel's rows.
template <int N>
HWY_INLINE void tile(const F32Panel* x, const float* w, int64_t w_stride, int64_t count,
                     float* ct) {
  const D d;
  V sum[N][kVectors];
  for (int n = 0; n < N; ++n) {
    for (int v = 0; v < kVectors; ++v) sum[n][v] = hn::Zero(d);
  }
  for (int64_t k = 0; k < count; ++k) {
    const float* channel = x[k / kPanelChannels].values[k % kPanelChannels];
    V rows[kVectors];
    for (int v = 0; v < kVectors; ++v) rows[v] = hn::Load(d, channel + v * kLanes);
    for (int n = 0; n < N; ++n) {
      const V weight = hn::Set(d, w[n * w_stride + k]);
      for (int v = 0; v < kVectors; ++v) sum[n][v] = hn::MulAdd(rows[v], weight, sum[n][v]);
    }
  }
  for (int n = 0; n < N; ++n) {
    for (int v = 0; v < kVectors; ++v) {
      float* at = ct + n * kPanelRows + v * kLanes;
      hn::Store(hn::Add(hn::Load(d, at), sum[n][v]), d, at);
    }
  }
}

void f32_panel_product_impl(int64_t m, const F32Panel* x, const WeightView& w, float* c,
                            int64_t ldc) {
  static thread_local Scratch scratch;
  const int64_t blocks = (w.cols + kPanelChannels - 1) / kPanelChannels;
  float* ct = scratch.get(kDecodedRows * (kPanelRows + w.cols));
  float* decoded = ct + kDecodedRows * kPanelRows;
  for (int64_t n = 0; n < w.rows; n += kDecodedRows) {
    const int64_t rows = std::min(kDecodedRows, w.rows - n);
    decode(w.slice_rows(n, n + rows), decoded, w.cols);
    for (int64_t i = 0; i < m; i += kPanelRows) {
      const F32Panel* panels = x + i / kPanelRows * blocks;
      std::fill_n(ct, rows * kPanelRows, 0.0f);
      for (int64_t k = 0; k < w.cols; k += kSegment) {
        const int64_t count = std::min(kSegment, w.cols - k);
        int64_t row = 0;
        for (; row + kTile <= rows; row += kTile) {
          tile<kTile>(panels + k / kPanelChannels, decoded + row * w.cols + k, w.cols, count,
                      ct + row * kPanelRows);
        }
        for (; row < rows; ++row) {
          tile<1>(panels + k / kPanelChannels, decoded + row * w.cols + k, w.cols, count,
                  ct + row * kPanelRows);
        }
      }
      transpose(ct, kPanelRows, std::min(kPanelRows, m - i), rows, c + i * ldc + n, ldc);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dsv3::kernels {

HWY_EXPORT(f32_panel_product_impl);

void f32_panel_product(int64_t m, const F32Panel* x, const WeightView& w, float* c, int64_t ldc) {
  HWY_DYNAMIC_DISPATCH(f32_panel_product_impl)(m, x, w, c, ldc);
}

}  // namespace dsv3::kernels
#endif  // HWY_ONCE
