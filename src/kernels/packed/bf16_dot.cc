// Products of a few rows of bfloat16 with BF16 and FP8 weights, by AVX-512 BF16: the weights are
// read once, and FP8 codes become bfloat16 by looking them up.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "formats/float_formats.h"
#include "kernels/packed/panel_products.h"

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
// GCC 12 finds what its own intrinsics leave undefined on purpose (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#if defined(__x86_64__)
#include <immintrin.h>

#include "hwy/base.h"  // HWY_PUSH_ATTRIBUTES
#endif

namespace dsv3::kernels {

#if defined(__x86_64__)

namespace {

// How far ahead of its use a row of weights is asked for.
constexpr int64_t kPrefetchBytes = 8192;

// The bytes of the bfloat16 that an FP8 code without its sign stands for.
struct CodeTable {
  alignas(64) std::array<uint8_t, 128> low, high;
  CodeTable() {
    for (int code = 0; code < 128; ++code) {
      const uint16_t bits =
          formats::float_to_bf16(formats::e4m3_to_float(static_cast<uint8_t>(code)));
      low[code] = static_cast<uint8_t>(bits & 0xFF);
      high[code] = static_cast<uint8_t>(bits >> 8);
    }
  }
};
const CodeTable code_table;

HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bf16")

inline __m512bh as_bf16(__m512i v) { return reinterpret_cast<__m512bh>(v); }

// 64 weights at a time, as two vectors of bfloat16 without scale.
struct BF16Weights {
  static constexpr int64_t kBytes = 2;
  static void load(const char* p, __m512bh (&out)[2]) {
    out[0] = as_bf16(_mm512_loadu_si512(p));
    out[1] = as_bf16(_mm512_loadu_si512(p + 64));
  }
};
struct F8E4M3Weights {
  static constexpr int64_t kBytes = 1;
  static void load(const char* p, __m512bh (&out)[2]) {
    // So that interleaving within lanes of 16 bytes leaves the elements in order.
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    const __m512i codes = _mm512_permutexvar_epi64(order, _mm512_loadu_si512(p));
    const CodeTable& t = code_table;
    const __m512i low = _mm512_permutex2var_epi8(_mm512_load_si512(t.low.data()), codes,
                                                 _mm512_load_si512(t.low.data() + 64));
    const __m512i high = _mm512_permutex2var_epi8(_mm512_load_si512(t.high.data()), codes,
                                                  _mm512_load_si512(t.high.data() + 64));
    // high | (codes & 0x80)
    const __m512i with_sign = _mm512_ternarylogic_epi64(high, codes, _mm512_set1_epi8(-128), 0xF8);
    out[0] = as_bf16(_mm512_unpacklo_epi8(low, with_sign));
    out[1] = as_bf16(_mm512_unpackhi_epi8(low, with_sign));
  }
};

// sums += rows of X times `count` weights from p on; what does not fill 64 is zero in X's rows.
template <class Weights, int M>
inline void add_products(const char* p, int64_t count, const uint16_t* const (&x)[M], int64_t at,
                         __m512 (&sum)[M][2]) {
  const auto add = [&](const char* from, int64_t k) {
    __m512bh w[2];
    Weights::load(from, w);
    for (int i = 0; i < M; ++i) {
      for (int half = 0; half < 2; ++half) {
        const __m512bh row = as_bf16(_mm512_loadu_si512(x[i] + at + k + 32 * half));
        sum[i][half] = _mm512_dpbf16_ps(sum[i][half], row, w[half]);
      }
    }
  };
  int64_t k = 0;
  for (; k + 64 <= count; k += 64) {
    _mm_prefetch(p + k * Weights::kBytes + kPrefetchBytes, _MM_HINT_T0);
    if constexpr (Weights::kBytes == 2) _mm_prefetch(p + 2 * k + 64 + kPrefetchBytes, _MM_HINT_T0);
    add(p + k * Weights::kBytes, k);
  }
  if (k < count) {
    char room[64 * Weights::kBytes] = {};
    std::memcpy(room, p + k * Weights::kBytes, static_cast<size_t>((count - k) * Weights::kBytes));
    add(room, k);
  }
}

template <class Weights, int M>
void rows_dot(int64_t rows, const uint16_t* x, int64_t stride, const int32_t* index,
              const WeightView& w, float* c, int64_t ldc) {
  const uint16_t* from[M];
  for (int i = 0; i < M; ++i) {
    const int64_t row = std::min<int64_t>(i, rows - 1);
    from[i] = x + (index != nullptr ? index[row] : row) * stride;
  }
  ask_for(w, kPrefetchBytes);
  const bool scaled = w.format == DType::kF8E4M3;
  const int64_t segment = scaled ? w.block_cols : w.cols;
  for (int64_t n = 0; n < w.rows; ++n) {
    const auto* p = static_cast<const char*>(w.row(n));
    const float* scales =
        scaled ? w.scale + (w.first_row + n) / w.block_rows * w.scale_stride : nullptr;
    __m512 total[M];
    for (int i = 0; i < M; ++i) total[i] = _mm512_setzero_ps();
    for (int64_t k = 0; k < w.cols; k += segment) {
      __m512 sum[M][2];
      for (int i = 0; i < M; ++i) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
      add_products<Weights, M>(p + k * Weights::kBytes, std::min(segment, w.cols - k), from, k,
                               sum);
      const __m512 scale = _mm512_set1_ps(scaled ? scales[k / segment] : 1.0f);
      for (int i = 0; i < M; ++i) {
        total[i] = _mm512_fmadd_ps(_mm512_add_ps(sum[i][0], sum[i][1]), scale, total[i]);
      }
    }
    for (int64_t i = 0; i < std::min<int64_t>(rows, M); ++i)
      c[i * ldc + n] = _mm512_reduce_add_ps(total[i]);
  }
}

template <class Weights>
void dot_block(int64_t m, const uint16_t* x, int64_t stride, const int32_t* index,
               const WeightView& w, float* c, int64_t ldc) {
  for (int64_t i = 0; i < m; i += 4) {
    const int64_t rows = std::min<int64_t>(m - i, 4);
    const uint16_t* from = index != nullptr ? x : x + i * stride;
    const int32_t* chosen = index != nullptr ? index + i : nullptr;
    if (rows == 1) {
      rows_dot<Weights, 1>(rows, from, stride, chosen, w, c + i * ldc, ldc);
    } else if (rows == 2) {
      rows_dot<Weights, 2>(rows, from, stride, chosen, w, c + i * ldc, ldc);
    } else {
      rows_dot<Weights, 4>(rows, from, stride, chosen, w, c + i * ldc, ldc);
    }
  }
}

// Few rows of W at a time, which all rows of X find in the cache.
template <class Weights>
void dot(int64_t m, const uint16_t* x, int64_t stride, const int32_t* index, const WeightView& w,
         float* c, int64_t ldc) {
  const int64_t step = m <= 4 ? w.rows : 32;
  for (int64_t n = 0; n < w.rows; n += step) {
    dot_block<Weights>(m, x, stride, index, w.slice_rows(n, std::min(w.rows, n + step)), c + n,
                       ldc);
  }
}

HWY_POP_ATTRIBUTES

}  // namespace

void bf16_rows_product(int64_t m, const uint16_t* x, int64_t stride, const int32_t* rows,
                       const WeightView& w, float* c, int64_t ldc) {
  if (w.format == DType::kBF16) return dot<BF16Weights>(m, x, stride, rows, w, c, ldc);
  dot<F8E4M3Weights>(m, x, stride, rows, w, c, ldc);
}

#else

void bf16_rows_product(int64_t, const uint16_t*, int64_t, const int32_t*, const WeightView&, float*,
                       int64_t) {
  fail("products of bfloat16 rows need AVX-512 BF16");
}

#endif

}  // namespace dsv3::kernels
