// Products of bfloat16 panels by AVX-512 BF16, and their packing.
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "kernels/matmul/matmul_kernels.h"
#include "kernels/transpose16.h"
#include "kernels/variants.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "hwy/base.h"  // HWY_PUSH_ATTRIBUTES
#endif

namespace dsv3::kernels {

#if defined(__x86_64__)
namespace {
HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")

constexpr int64_t kLanes = 16;

inline __m512i bits(__m512bh x) {
  __m512i y;
  std::memcpy(&y, &x, 64);
  return y;
}

template <class Mask>
inline Mask first(int64_t n) {
  constexpr int64_t kBits = 8 * sizeof(Mask);
  return n >= kBits ? static_cast<Mask>(-1)
                    : static_cast<Mask>((1ull << std::max<int64_t>(n, 0)) - 1);
}

// `n` <= 32 numbers of a row as bfloat16, then zeros.
template <bool kBF16, bool kScaled>
inline __m512i load_32(const void* data, int64_t at, int64_t n, float scale) {
  if constexpr (kBF16) {
    const auto* from = static_cast<const uint16_t*>(data) + at;
    const __m512i v = _mm512_maskz_loadu_epi16(first<__mmask32>(n), from);
    if constexpr (!kScaled) return v;
    const __m512 factor = _mm512_set1_ps(scale);
    const auto half = [&](int which) {
      const __m256i h = which == 0 ? _mm512_castsi512_si256(v) : _mm512_extracti64x4_epi64(v, 1);
      const __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16);
      return _mm512_mul_ps(_mm512_castsi512_ps(wide), factor);
    };
    return bits(_mm512_cvtne2ps_pbh(half(1), half(0)));
  } else {
    const auto* from = static_cast<const float*>(data) + at;
    __m512 low = _mm512_maskz_loadu_ps(first<__mmask16>(n), from);
    __m512 high = _mm512_maskz_loadu_ps(first<__mmask16>(n - 16), from + 16);
    if constexpr (kScaled) {
      low = _mm512_mul_ps(low, _mm512_set1_ps(scale));
      high = _mm512_mul_ps(high, _mm512_set1_ps(scale));
    }
    return bits(_mm512_cvtne2ps_pbh(high, low));
  }
}

// 16 numbers of a row, those of `mask`, as float32.
template <bool kBF16>
inline __m512 load_16(const void* data, int64_t at, __mmask16 mask) {
  if constexpr (kBF16) {
    const auto* from = static_cast<const uint16_t*>(data) + at;
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  } else {
    return _mm512_maskz_loadu_ps(mask, static_cast<const float*>(data) + at);
  }
}

// Lanes are rows: a vector of a row's pairs, 16 rows of them transposed.
template <bool kBF16, bool kScaled>
void pack_rows(const PanelSource& x, int64_t lane, int lanes, int64_t k, int64_t count,
               int64_t step_words, float* out) {
  int64_t at[16];
  float scale[16];
  for (int group = 0; group < lanes; group += 16) {
    const int here = std::min(16, lanes - group);
    for (int i = 0; i < 16; ++i) {
      const int64_t r = lane + group + std::min(i, here - 1);
      at[i] = x.row(r) + k;
      scale[i] = x.scale(r);
    }
    float* to = out + group;
    int64_t q = 0;
    for (; q + 32 <= count; q += 32) {
      __m512i r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i)
        r[i] = load_32<kBF16, kScaled>(x.matrix.data, at[i] + q, 32, scale[i]);
      transpose16(r);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + i * step_words, r[i]);
      to += 16 * step_words;
    }
    if (q < count) {
      __m512i r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i)
        r[i] = load_32<kBF16, kScaled>(x.matrix.data, at[i] + q, count - q, scale[i]);
      transpose16(r);
      for (int i = 0; i < (count - q + 1) / 2; ++i) _mm512_storeu_si512(to + i * step_words, r[i]);
    }
  }
}

// Lanes lie side by side: two rows make the pairs of a step. kPlain: rows lie one after the other
// and are not scaled.
template <bool kBF16, bool kPlain>
void pack_columns(const PanelSource& x, int64_t lane, int lanes, int64_t k, int64_t count,
                  int64_t step_words, float* out) {
  alignas(64) static constexpr auto kInterleave = [] {
    std::array<uint16_t, 32> order{};
    for (int i = 0; i < 32; ++i) order[i] = static_cast<uint16_t>(i / 2 + 16 * (i % 2));
    return order;
  }();
  const int64_t ahead = x.prefetch_distance(k);
  const __m512i order = _mm512_load_si512(kInterleave.data());
  for (int group = 0; group < lanes; group += 16) {
    const auto mask = first<__mmask16>(lanes - group);
    float* to = out + group;
    int64_t at = k * x.matrix.stride + lane + group;
    const auto next_row = [&](int64_t r, __mmask16 some) {
      if constexpr (kPlain) {
        if (ahead != 0) {
          _mm_prefetch(static_cast<const char*>(x.matrix.data) + (at + ahead) * (kBF16 ? 2 : 4),
                       _MM_HINT_T0);
        }
        const __m512 v = load_16<kBF16>(x.matrix.data, at, some);
        at += x.matrix.stride;
        return v;
      } else {
        const __m512 v = load_16<kBF16>(x.matrix.data, x.row(r) + lane + group, some);
        return _mm512_mul_ps(v, _mm512_set1_ps(x.scale(r)));
      }
    };
    const auto store = [&](__m512 even, __m512 odd) {
      const __m512i both = bits(_mm512_cvtne2ps_pbh(odd, even));
      _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, both));
      to += step_words;
    };
    int64_t r = k;
    for (; r + 2 <= k + count; r += 2) {
      const __m512 even = next_row(r, mask);
      store(even, next_row(r + 1, mask));
    }
    if (r < k + count) store(next_row(r, mask), _mm512_setzero_ps());
  }
}

}  // namespace

void pack_bf16(const PanelSource& x, int64_t lane, int lanes, int64_t k, int64_t count,
               int64_t step_words, float* out) {
  const bool bf16 = x.matrix.bf16;
  if (x.lanes_are_rows && x.matrix.row_scale == nullptr) {
    const auto run = bf16 ? pack_rows<true, false> : pack_rows<false, false>;
    run(x, lane, lanes, k, count, step_words, out);
  } else if (x.lanes_are_rows) {
    const auto run = bf16 ? pack_rows<true, true> : pack_rows<false, true>;
    run(x, lane, lanes, k, count, step_words, out);
  } else if (x.is_plain()) {
    const auto run = bf16 ? pack_columns<true, true> : pack_columns<false, true>;
    run(x, lane, lanes, k, count, step_words, out);
  } else {
    const auto run = bf16 ? pack_columns<true, false> : pack_columns<false, false>;
    run(x, lane, lanes, k, count, step_words, out);
  }
}

namespace {

template <int M, int N>
void tile(int64_t steps, const float* a, int64_t a_step, const float* b, int64_t b_step, bool add,
          float* c, int64_t ldc) {
  __m512 sum[M][N];
  // Unrolled, as otherwise the compiler keeps the sums in memory before and after the loop.
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i) {
    for (int v = 0; v < N; ++v) sum[i][v] = _mm512_setzero_ps();
  }
  for (int64_t s = 0; s < steps; ++s) {
    __m512bh columns[N];
    for (int v = 0; v < N; ++v) std::memcpy(&columns[v], b + kLanes * v, 64);
    for (int i = 0; i < M; ++i) {
      const __m512 broadcast = _mm512_set1_ps(a[i]);
      __m512bh row;
      std::memcpy(&row, &broadcast, 64);
      for (int v = 0; v < N; ++v) sum[i][v] = _mm512_dpbf16_ps(sum[i][v], columns[v], row);
    }
    a += a_step;
    b += b_step;
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i) {
    for (int v = 0; v < N; ++v) {
      float* to = c + kLanes * v;
      if (add) sum[i][v] = _mm512_add_ps(_mm512_loadu_ps(to), sum[i][v]);
      _mm512_storeu_ps(to, sum[i][v]);
    }
    c += ldc;
  }
}

HWY_POP_ATTRIBUTES

template <int... I>
constexpr MatmulKernels make_kernels(std::integer_sequence<int, I...>) {
  return {.step_k = 2,
          .lanes = kLanes,
          .tile_rows = kMaxVectorTileRows,
          .block_steps = 256,
          .pack = pack_bf16,
          .tiles = {{tile<I + 1, 1>...}, {tile<I + 1, 2>...}}};
}
constexpr MatmulKernels kKernels =
    make_kernels(std::make_integer_sequence<int, kMaxVectorTileRows>());

}  // namespace

const MatmulKernels* bf16_matmul_kernels() {
  if (current_features().amx) return &amx_matmul_kernels();
  return current_features().fast_bf16 ? &kKernels : nullptr;
}

#else

const MatmulKernels* bf16_matmul_kernels() { return nullptr; }

#endif

}  // namespace dsv3::kernels
