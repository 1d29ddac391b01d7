// Products of 8-bit panels by AVX-512 VNNI. Rows of W are unpacked to bytes once for all rows of X.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "kernels/packed/panel_products.h"
#include "kernels/scratch.h"
#include "kernels/simd_int8.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/packed/int8_panel.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "kernels/int8/int8_dot4-inl.h"
#include "kernels/int8/int8_unpack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_AVX3_DL

void int8_panel_product_impl(int64_t, const Int8Panel*, const WeightView&, float*, int64_t) {
  fail("products of 8-bit panels need AVX-512 VNNI");
}

#else

// Rows of W that are unpacked together: their codes stay in the second-level cache.
constexpr int64_t kUnpackedRows = 32;
// How far ahead of its use a row of weights is asked for.
constexpr int64_t kPrefetchBytes = 4096;
// Panels that share a broadcast weight.
constexpr int64_t kPanels = 3;

// Some rows of W as signed bytes, with what belongs to their groups of 16 or 32 channels: weight =
// scale * code - minimum. `start` is -128 times the sum of the group's codes, which takes back the
// 128 in the codes of the panels.
struct Unpacked {
  int8_t* codes;   // [rows][stride]
  int32_t* start;  // [rows][cols / 16]; with groups of 32 only the even ones
  float* scale;
  float* minimum;
  int64_t cols, stride, groups;
};

// Stores the codes of a chunk; the sums of each 16 of them.
template <class Block>
HWY_INLINE __m512i unpack_codes(const Block* b, int8_t* codes) {
  constexpr int kOffset = Unpack<Block>::kOffset;
  const __m512i spread = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
  Codes256 unsigned_codes;
  chunk_codes(b, unsigned_codes);
  __m512i sums = _mm512_setzero_si512();
  for (int v = 0; v < 4; ++v) {
    VU8 u = unsigned_codes.v[v];
    if constexpr (kOffset != 0) u = hn::Sub(u, hn::Set(U8(), kOffset));
    const VI8 s = hn::BitCast(I8(), u);
    hn::StoreU(s, I8(), codes + 64 * v);
    // The sums of four codes a lane, then of the four lanes of each 16 codes.
    __m512i sum = dot4(hn::Zero(I32()), hn::Set(U8(), 1), s).raw;
    sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_BADC));
    sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_CDAB));
    sums = _mm512_mask_permutexvar_epi32(sums, static_cast<__mmask16>(0xF << 4 * v), spread, sum);
  }
  return sums;
}

template <class Block>
HWY_INLINE void unpack_chunk(const Block* b, int64_t row, int64_t chunk, const Unpacked& to) {
  using Format = Unpack<Block>;
  __m512i sums = unpack_codes(b, to.codes + row * to.stride + chunk * 256);
  if constexpr (Format::kGroup == 32) {
    sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32(sums, _MM_PERM_CDAB));
  }
  const __m512i start = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sums, 7));
  Scales scale, minimum;
  Format::scales(b, scale, minimum);
  const int64_t at = row * to.groups + chunk * 16;
  _mm512_storeu_si512(to.start + at, start);
  hn::StoreU(scale.v[0], F(), to.scale + at);
  if constexpr (Format::kHasMinimum) hn::StoreU(minimum.v[0], F(), to.minimum + at);
}

template <class Block>
void unpack_rows(const WeightView& w, const Unpacked& to) {
  const auto* end = static_cast<const char*>(w.row(w.rows));
  for (int64_t r = 0; r < w.rows; ++r) {
    for_each_chunk(static_cast<const Block*>(w.row(r)), w.cols, kPrefetchBytes, end,
                   [&](const Block* b, int64_t chunk) HWY_ATTR { unpack_chunk(b, r, chunk, to); });
  }
}

// sum += the products of `kQuads` times four channels from a group's start, for N rows of W and T
// panels' rows.
template <int N, int T, int kQuads>
HWY_INLINE void add_products(const Int8Panel* const (&x)[T], int first_quad,
                             const int8_t* const (&w)[N], __m512i (&sum)[N][T]) {
#pragma GCC unroll 8
  for (int q = 0; q < kQuads; ++q) {
    __m512i rows[T];
    for (int t = 0; t < T; ++t) rows[t] = _mm512_load_si512(x[t]->codes[first_quad + q]);
    for (int n = 0; n < N; ++n) {
      int32_t four;
      std::memcpy(&four, w[n] + 4 * (first_quad + q), 4);
      const __m512i weights = _mm512_set1_epi32(four);
      for (int t = 0; t < T; ++t) {
        asm("vpdpbusd %2, %1, %0" : "+v"(sum[n][t]) : "v"(rows[t]), "v"(weights));
      }
    }
  }
}

// N rows of W times 16 T rows of X, to C^T.
template <int N, int T, int kGroup, bool kHasMinimum>
HWY_INLINE void tile(const Int8Panel* x, int64_t panel_stride, const Unpacked& w, int64_t row,
                     __m512 (&total)[N][T]) {
  for (int n = 0; n < N; ++n) {
    for (int t = 0; t < T; ++t) total[n][t] = _mm512_setzero_ps();
  }
  constexpr int kHalves = 32 / kGroup;
  for (int64_t block = 0; block < w.cols / 32; ++block) {
    const Int8Panel* panel[T];
    const int8_t* codes[N];
    for (int t = 0; t < T; ++t) panel[t] = x + t * panel_stride + block;
    for (int n = 0; n < N; ++n) codes[n] = w.codes + (row + n) * w.stride + block * 32;
    for (int half = 0; half < kHalves; ++half) {
      __m512i sum[N][T];
      for (int n = 0; n < N; ++n) {
        const int64_t group = (row + n) * w.groups + 2 * block + half;
        for (int t = 0; t < T; ++t) sum[n][t] = _mm512_set1_epi32(w.start[group]);
      }
      add_products<N, T, kGroup / 4>(panel, half * kGroup / 4, codes, sum);
      for (int n = 0; n < N; ++n) {
        const int64_t group = (row + n) * w.groups + 2 * block + half;
        const __m512 scale = _mm512_set1_ps(w.scale[group]);
        for (int t = 0; t < T; ++t) {
          const __m512 both = _mm512_mul_ps(scale, _mm512_load_ps(panel[t]->scale));
          total[n][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[n][t]), both, total[n][t]);
        }
        if constexpr (kHasMinimum) {
          const __m512 minimum = _mm512_set1_ps(w.minimum[group]);
          for (int t = 0; t < T; ++t) {
            __m512 x_sum = _mm512_load_ps(panel[t]->sum[half]);
            if constexpr (kGroup == 32)
              x_sum = _mm512_add_ps(x_sum, _mm512_load_ps(panel[t]->sum[1]));
            total[n][t] = _mm512_fnmadd_ps(minimum, x_sum, total[n][t]);
          }
        }
      }
    }
  }
}

// C^T [w.rows][16 panels] of all rows of W and T panels' rows of X. N rows of W go together.
template <int N, int T, int kGroup, bool kHasMinimum>
void strip(const Int8Panel* x, int64_t panel_stride, const Unpacked& w, int64_t rows, float* ct,
           int64_t ld) {
  int64_t row = 0;
  for (; row + N <= rows; row += N) {
    __m512 total[N][T];
    tile<N, T, kGroup, kHasMinimum>(x, panel_stride, w, row, total);
    for (int n = 0; n < N; ++n) {
      for (int t = 0; t < T; ++t) _mm512_storeu_ps(ct + (row + n) * ld + 16 * t, total[n][t]);
    }
  }
  for (; row < rows; ++row) {
    __m512 total[1][T];
    tile<1, T, kGroup, kHasMinimum>(x, panel_stride, w, row, total);
    for (int t = 0; t < T; ++t) _mm512_storeu_ps(ct + row * ld + 16 * t, total[0][t]);
  }
}

template <int kGroup, bool kHasMinimum>
void all_panels(int64_t m, const Int8Panel* x, const Unpacked& w, int64_t rows, float* ct, float* c,
                int64_t ldc) {
  const int64_t panel_stride = w.cols / 32;
  for (int64_t i = 0; i < m;) {
    const int64_t panels = std::min((m - i + kPanelRows - 1) / kPanelRows, kPanels);
    const Int8Panel* from = x + i / kPanelRows * panel_stride;
    constexpr int64_t kLd = kPanels * kPanelRows;
    if (panels == 3) {
      strip<4, 3, kGroup, kHasMinimum>(from, panel_stride, w, rows, ct, kLd);
    } else if (panels == 2) {
      strip<4, 2, kGroup, kHasMinimum>(from, panel_stride, w, rows, ct, kLd);
    } else {
      strip<8, 1, kGroup, kHasMinimum>(from, panel_stride, w, rows, ct, kLd);
    }
    const int64_t end = std::min(m, i + kPanelRows * panels);
    transpose(ct, kLd, end - i, rows, c + i * ldc, ldc);
    i = end;
  }
}

void int8_panel_product_impl(int64_t m, const Int8Panel* x, const WeightView& w, float* c,
                             int64_t ldc) {
  static thread_local Scratch scratch;
  const int64_t stride = int8_chunks(w.cols) * 256, groups = stride / 16;
  // Four bytes of codes take a float's room; the transposed result is kPanels panels wide.
  float* memory = scratch.get(kUnpackedRows * (3 * groups + stride / 4 + kPanels * kPanelRows));
  float* ct = memory + kUnpackedRows * (3 * groups + stride / 4);
  const Unpacked unpacked{.codes = reinterpret_cast<int8_t*>(memory + 3 * kUnpackedRows * groups),
                          .start = reinterpret_cast<int32_t*>(memory + 2 * kUnpackedRows * groups),
                          .scale = memory,
                          .minimum = memory + kUnpackedRows * groups,
                          .cols = w.cols,
                          .stride = stride,
                          .groups = groups};
  with_block(w.format, [&](auto block) HWY_ATTR {
    using Format = Unpack<decltype(block)>;
    for (int64_t n = 0; n < w.rows; n += kUnpackedRows) {
      const WeightView some = w.slice_rows(n, std::min(w.rows, n + kUnpackedRows));
      unpack_rows<decltype(block)>(some, unpacked);
      all_panels<Format::kGroup, Format::kHasMinimum>(m, x, unpacked, some.rows, ct, c + n, ldc);
    }
  });
}

#endif  // HWY_AVX3_DL

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dsv3::kernels {

HWY_EXPORT(int8_panel_product_impl);

void int8_panel_product(int64_t m, const Int8Panel* x, const WeightView& w, float* c, int64_t ldc) {
  HWY_DYNAMIC_DISPATCH(int8_panel_product_impl)(m, x, w, c, ldc);
}

}  // namespace dsv3::kernels
#endif  // HWY_ONCE
