#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "kernels/amx_tiles.h"
#include "kernels/attention/attention.h"
#include "kernels/simd.h"
#include "kernels/transpose16.h"
#include "kernels/variants.h"
//
#include "hwy/highway.h"

namespace dsv3::kernels {
bool has_attention_bf16() { return current_features().avx512_bf16; }
}  // namespace dsv3::kernels

#if HWY_ARCH_X86
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 warns of its own _mm512_undefined_* (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

// Early, so that arrays of vectors become registers.
#if defined(__clang__)
#define DSV3_UNROLL _Pragma("unroll")
#else
#define DSV3_UNROLL _Pragma("GCC unroll 16")
#endif

HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
namespace dsv3::kernels {
namespace {

// A pair of bf16 numbers in all lanes.
HWY_INLINE __m512bh broadcast(const void* pair) {
  int32_t bits;
  std::memcpy(&bits, pair, sizeof(bits));
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(bits));
}
HWY_INLINE __m512bh load(const void* p) {
  return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p));
}

// M <= 16 keys against a group. Rows are addressed from every third one on, which x86's
// addressing modes do without a register for each.
template <int M>
HWY_NOINLINE void score_strip(const char* keys, int64_t stride, int64_t pairs, const uint32_t* q,
                              bool accumulate, const char* next, const char* far, float* s) {
  const char* const base[6] = {keys,
                               keys + 3 * stride,
                               keys + 6 * stride,
                               keys + 9 * stride,
                               keys + 12 * stride,
                               keys + 15 * stride};
  __m512 sum[M];
  DSV3_UNROLL
  for (int m = 0; m < M; ++m)
    sum[m] = accumulate ? _mm512_loadu_ps(s + m * kLanes) : _mm512_setzero_ps();
  for (int64_t c = 0; c < pairs; ++c) {
    // A line for each pair is what a strip of 16 keys needs: the next one's from the second-level
    // cache, that of the next page from memory.
    if (M == 16) {
      _mm_prefetch(next + 64 * c, _MM_HINT_T0);
      _mm_prefetch(far + 64 * c, _MM_HINT_T1);
    }
    const __m512bh x = load(q + c * kLanes);
    DSV3_UNROLL
    for (int m = 0; m < M; ++m) {
      sum[m] = _mm512_dpbf16_ps(sum[m], x, broadcast(base[m / 3] + m % 3 * stride + 4 * c));
    }
  }
  DSV3_UNROLL
  for (int m = 0; m < M; ++m) _mm512_storeu_ps(s + m * kLanes, sum[m]);
}

// Two float vectors to 16 pairs of bf16, rounded to nearest even: lane i of `even`, then of `odd`.
HWY_INLINE void store_pairs(__m512 even, __m512 odd, uint32_t* out) {
  const auto words = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even));
  const __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(words));
  const __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(words, 1));
  _mm512_storeu_si512(out, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}

// 8 keys against two groups, which share the broadcast keys: nothing but the products bounds it,
// where one group needs a load for each of them.
HWY_NOINLINE void score_strip_of_two(const char* keys, int64_t stride, int64_t pairs,
                                     const uint32_t* q, int64_t q_stride, bool accumulate,
                                     const char* next, float* s) {
  constexpr int kKeys = 8;
  float* s1 = s + kTileKeys * kLanes;
  const char* const base[3] = {keys, keys + 3 * stride, keys + 6 * stride};
  __m512 sum[kKeys][2];
  DSV3_UNROLL
  for (int m = 0; m < kKeys; ++m) {
    sum[m][0] = accumulate ? _mm512_loadu_ps(s + m * kLanes) : _mm512_setzero_ps();
    sum[m][1] = accumulate ? _mm512_loadu_ps(s1 + m * kLanes) : _mm512_setzero_ps();
  }
  for (int64_t c = 0; c < pairs; ++c) {
    if (c % 2 == 0) _mm_prefetch(next + 32 * c, _MM_HINT_T0);
    const __m512bh x0 = load(q + c * kLanes), x1 = load(q + q_stride + c * kLanes);
    DSV3_UNROLL
    for (int m = 0; m < kKeys; ++m) {
      const __m512bh key = broadcast(base[m / 3] + m % 3 * stride + 4 * c);
      sum[m][0] = _mm512_dpbf16_ps(sum[m][0], x0, key);
      sum[m][1] = _mm512_dpbf16_ps(sum[m][1], x1, key);
    }
  }
  DSV3_UNROLL
  for (int m = 0; m < kKeys; ++m) {
    _mm512_storeu_ps(s + m * kLanes, sum[m][0]);
    _mm512_storeu_ps(s1 + m * kLanes, sum[m][1]);
  }
}

// What turns two rows of 32 channels into pairs of the same channel, 16 channels a vector.
struct Interleave {
  __m512i low, high;
};
HWY_INLINE Interleave interleave() {
  alignas(64) static constexpr uint16_t low[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,
                                                   37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
                                                   11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  alignas(64) static constexpr uint16_t high[32] = {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21,
                                                    53, 22, 54, 23, 55, 24, 56, 25, 57, 26, 58,
                                                    27, 59, 28, 60, 29, 61, 30, 62, 31, 63};
  return {_mm512_load_si512(low), _mm512_load_si512(high)};
}

alignas(64) constexpr uint16_t kZeros[32] = {};

// 8 rows of weights times 32 channels. Either takes the values from their rows, and leaves them in
// `packed` [key / 2][32][2], or takes them from there. Not inlined: the compiler would keep the
// addresses of all blocks and have no registers left for this one.
template <bool kPacked>
HWY_NOINLINE void value_block(const uint32_t* p, int64_t n, const uint16_t* v, int64_t v_stride,
                              char* packed, const float* correction, float* o) {
  const Interleave il = interleave();
  __m512 sum[8][2];
  DSV3_UNROLL
  for (int r = 0; r < 8; ++r) {
    const __m512 factor = _mm512_set1_ps(correction[r]);
    sum[r][0] = _mm512_mul_ps(factor, _mm512_loadu_ps(o + r * kPanel));
    sum[r][1] = _mm512_mul_ps(factor, _mm512_loadu_ps(o + r * kPanel + 16));
  }
  for (int64_t k = 0; k < n; k += 2) {
    __m512bh v0, v1;
    if constexpr (kPacked) {
      v0 = load(packed);
      v1 = load(packed + 64);
    } else {
      const __m512i even = _mm512_loadu_si512(v);
      const __m512i odd = _mm512_loadu_si512(k + 1 < n ? v + v_stride : kZeros);
      const __m512i low = _mm512_permutex2var_epi16(even, il.low, odd);
      const __m512i high = _mm512_permutex2var_epi16(even, il.high, odd);
      _mm512_store_si512(packed, low);
      _mm512_store_si512(packed + 64, high);
      v0 = reinterpret_cast<__m512bh>(low);
      v1 = reinterpret_cast<__m512bh>(high);
      v += 2 * v_stride;
    }
    DSV3_UNROLL
    for (int r = 0; r < 8; ++r) {
      const __m512bh weight = broadcast(p + r);
      sum[r][0] = _mm512_dpbf16_ps(sum[r][0], v0, weight);
      sum[r][1] = _mm512_dpbf16_ps(sum[r][1], v1, weight);
    }
    p += kLanes;
    packed += 128;
  }
  DSV3_UNROLL
  for (int r = 0; r < 8; ++r) {
    _mm512_storeu_ps(o + r * kPanel, sum[r][0]);
    _mm512_storeu_ps(o + r * kPanel + 16, sum[r][1]);
  }
}

void scores_by_vectors(int64_t groups, const uint16_t* keys, int64_t key_stride, int64_t n,
                       int64_t channels, const uint32_t* q, int64_t q_stride, bool accumulate,
                       const uint16_t* next, float* s) {
  const int64_t pairs = channels / 2, stride = 2 * key_stride;
  const auto* row = reinterpret_cast<const char*>(keys);
  const auto* after = next != nullptr ? reinterpret_cast<const char*>(next) : row + n * stride;
  const auto following = [&](int64_t k) { return k < n ? row + k * stride : after; };
  for (; groups >= 2; groups -= 2) {
    int64_t k = 0;
    for (; k + 8 <= n; k += 8) {
      score_strip_of_two(row + k * stride, stride, pairs, q, q_stride, accumulate, following(k + 8),
                         s + k * kLanes);
    }
    for (; k < n; ++k) {
      for (int64_t g = 0; g < 2; ++g) {
        score_strip<1>(row + k * stride, stride, pairs, q + g * q_stride, accumulate, nullptr,
                       nullptr, s + (g * kTileKeys + k) * kLanes);
      }
    }
    q += 2 * q_stride;
    s += 2 * kTileKeys * kLanes;
  }
  if (groups == 0) return;
  int64_t k = 0;
  for (; k + 16 <= n; k += 16) {
    const char* far = next != nullptr ? reinterpret_cast<const char*>(next) + k * stride : row;
    score_strip<16>(row + k * stride, stride, pairs, q, accumulate, following(k + 16), far,
                    s + k * kLanes);
  }
  for (; k + 4 <= n; k += 4)
    score_strip<4>(row + k * stride, stride, pairs, q, accumulate, nullptr, nullptr,
                   s + k * kLanes);
  for (; k < n; ++k)
    score_strip<1>(row + k * stride, stride, pairs, q, accumulate, nullptr, nullptr,
                   s + k * kLanes);
}

void values_by_vectors(int64_t groups, const uint32_t* p, int64_t p_stride, int64_t n,
                       const uint16_t* v, int64_t v_stride, int64_t channels,
                       const float* correction, float* o) {
  alignas(64) char packed[kTileKeys * 64];
  for (int64_t c = 0; c < channels; c += kPanel) {
    for (int64_t g = 0; g < groups; ++g) {
      const uint32_t* weights = p + g * p_stride;
      const float* factor = correction + g * kLanes;
      float* to = o + (g * channels + c) * kLanes;
      if (g == 0) {
        value_block<false>(weights, n, v + c, v_stride, packed, factor, to);
      } else {
        value_block<true>(weights, n, v, v_stride, packed, factor, to);
      }
      value_block<true>(weights + 8, n, v, v_stride, packed, factor + 8, to + 8 * kPanel);
    }
  }
}

// All keys, so that a score does not depend on how many there are, and channels in steps of 32 by
// tiles, the rest by vectors.
void scores_by_tiles(int64_t groups, const uint16_t* keys, int64_t key_stride, int64_t n,
                     int64_t channels, const uint32_t* q, int64_t q_stride, bool accumulate,
                     const uint16_t* next, float* s) {
  const int64_t steps = channels / 32, row_bytes = 2 * key_stride;
  if (steps > 0) {
    with_tiles([&](auto& tiles) {
      tile_product<TileNumbers::kBFloat16>(tiles, (n + kTileRows - 1) / kTileRows, groups, steps,
                                           {.data = keys,
                                            .row_stride = row_bytes,
                                            .step = kTileRowBytes,
                                            .block_stride = kTileRows * row_bytes},
                                           {.data = q,
                                            .row_stride = kTileRowBytes,
                                            .step = kTileBytes,
                                            .block_stride = 4 * q_stride},
                                           accumulate,
                                           {.data = s,
                                            .row_stride = 4 * kLanes,
                                            .block_stride = 4 * kLanes * kTileRows,
                                            .panel_stride = 4 * kLanes * kTileKeys},
                                           next);
    });
  }
  if (channels % 32 != 0) {
    scores_by_vectors(groups, keys + 32 * steps, key_stride, n, channels - 32 * steps,
                      q + steps * 16 * kLanes, q_stride, accumulate || steps > 0, nullptr, s);
  }
}

// [pair of keys][row][2] to [row][keys]: rows of a tile. Filled up with zeros to 32 keys.
void transpose_weights(const uint32_t* p, int64_t n, uint16_t* out) {
  const int64_t pairs = (n + 1) / 2;
  for (int64_t k = 0; k < pairs; k += 16) {
    __m512i x[16];
    DSV3_UNROLL
    for (int i = 0; i < 16; ++i) {
      x[i] = k + i < pairs ? _mm512_loadu_si512(p + (k + i) * kLanes) : _mm512_setzero_si512();
    }
    transpose16(x);
    DSV3_UNROLL
    for (int i = 0; i < 16; ++i) _mm512_store_si512(out + i * kTileKeys + 2 * k, x[i]);
  }
}

// Two vectors of channels of n keys, in pairs of keys: out [2][kTileKeys / 2][16][2]. Filled up
// with zeros to 32 keys.
void interleave_values(const uint16_t* v, int64_t v_stride, int64_t n, uint32_t* out) {
  constexpr int64_t kVector = kTileKeys / 2 * kLanes;
  const Interleave il = interleave();
  for (int64_t k = 0; k < n; k += 2, out += kLanes) {
    const __m512i even = _mm512_loadu_si512(v + k * v_stride);
    const __m512i odd = _mm512_loadu_si512(k + 1 < n ? v + (k + 1) * v_stride : kZeros);
    _mm512_store_si512(out, _mm512_permutex2var_epi16(even, il.low, odd));
    _mm512_store_si512(out + kVector, _mm512_permutex2var_epi16(even, il.high, odd));
  }
  for (int64_t k = (n + 1) / 2; k % 16 != 0; ++k, out += kLanes) {
    _mm512_store_si512(out, _mm512_setzero_si512());
    _mm512_store_si512(out + kVector, _mm512_setzero_si512());
  }
}

// A panel of a group's sums times the rows' corrections.
void correct(const float* correction, float* o) {
  const __mmask16 changed =
      _mm512_cmp_ps_mask(_mm512_loadu_ps(correction), _mm512_set1_ps(1.0f), _CMP_NEQ_UQ);
  if (changed == 0) return;
  for (int64_t r = 0; r < kLanes; ++r, o += kPanel) {
    const __m512 factor = _mm512_set1_ps(correction[r]);
    _mm512_storeu_ps(o, _mm512_mul_ps(factor, _mm512_loadu_ps(o)));
    _mm512_storeu_ps(o + 16, _mm512_mul_ps(factor, _mm512_loadu_ps(o + 16)));
  }
}

void values_by_tiles(int64_t groups, const uint32_t* p, int64_t p_stride, int64_t n,
                     const uint16_t* v, int64_t v_stride, int64_t channels, const float* correction,
                     float* o) {
  constexpr int64_t kGroups = 4;  // that share interleaved values
  alignas(64) uint16_t weights[kGroups * kLanes * kTileKeys];
  alignas(64) uint32_t values[kTileKeys * kLanes];
  with_tiles([&](auto& tiles) {
    for (int64_t first = 0; first < groups; first += kGroups) {
      const int64_t now = std::min(kGroups, groups - first);
      for (int64_t g = 0; g < now; ++g)
        transpose_weights(p + (first + g) * p_stride, n, weights + g * kLanes * kTileKeys);
      for (int64_t c = 0; c < channels; c += kPanel) {
        interleave_values(v + c, v_stride, n, values);
        float* to = o + (first * channels + c) * kLanes;
        for (int64_t g = 0; g < now; ++g)
          correct(correction + (first + g) * kLanes, to + g * channels * kLanes);
        tile_product<TileNumbers::kBFloat16>(tiles, now, kPanel / 16, (n + 31) / 32,
                                             {.data = weights,
                                              .row_stride = 2 * kTileKeys,
                                              .step = kTileRowBytes,
                                              .block_stride = 2 * kTileKeys * kLanes},
                                             {.data = values,
                                              .row_stride = kTileRowBytes,
                                              .step = kTileBytes,
                                              .block_stride = kTileKeys / 2 * kTileRowBytes},
                                             true,
                                             {.data = to,
                                              .row_stride = 4 * kPanel,
                                              .block_stride = 4 * channels * kLanes,
                                              .panel_stride = kTileRowBytes});
      }
    }
  });
}

}  // namespace

void scores_bf16(int64_t groups, const uint16_t* keys, int64_t key_stride, int64_t n,
                 int64_t channels, const uint32_t* q, int64_t q_stride, bool accumulate,
                 const uint16_t* next, float* s) {
  const auto run = current_features().amx ? scores_by_tiles : scores_by_vectors;
  run(groups, keys, key_stride, n, channels, q, q_stride, accumulate, next, s);
}

void values_bf16(int64_t groups, const uint32_t* p, int64_t p_stride, int64_t n, const uint16_t* v,
                 int64_t v_stride, int64_t channels, const float* correction, float* o) {
  const auto run = current_features().amx ? values_by_tiles : values_by_vectors;
  run(groups, p, p_stride, n, v, v_stride, channels, correction, o);
}

void pack_rows_bf16(const float* in, int64_t row_stride, int64_t col_stride, int64_t rows,
                    int64_t channels, uint32_t* q) {
  int64_t c = 0;
  for (; col_stride == 1 && c + 32 <= channels; c += 32) {
    __m512i x[16];
    for (int64_t r = 0; r < kLanes; ++r) {
      const float* at = in + r * row_stride + c;
      x[r] = r < rows ? reinterpret_cast<__m512i>(
                            _mm512_cvtne2ps_pbh(_mm512_loadu_ps(at + 16), _mm512_loadu_ps(at)))
                      : _mm512_setzero_si512();
    }
    transpose16(x);
    for (int i = 0; i < 16; ++i) _mm512_storeu_si512(q + (c / 2 + i) * kLanes, x[i]);
  }
  for (; c < channels; c += 2) {
    alignas(64) float even[kLanes] = {}, odd[kLanes] = {};
    for (int64_t r = 0; r < rows; ++r) {
      even[r] = in[r * row_stride + c * col_stride];
      if (c + 1 < channels) odd[r] = in[r * row_stride + (c + 1) * col_stride];
    }
    store_pairs(_mm512_load_ps(even), _mm512_load_ps(odd), q + c / 2 * kLanes);
  }
}

void pack_weights_bf16(const float* p, int64_t n, uint32_t* out) {
  for (int64_t k = 0; k < n; k += 2) {
    const __m512 odd = k + 1 < n ? _mm512_loadu_ps(p + (k + 1) * kLanes) : _mm512_setzero_ps();
    store_pairs(_mm512_loadu_ps(p + k * kLanes), odd, out + k / 2 * kLanes);
  }
}

void store_rows_bf16(const float* x, int64_t n, uint16_t* out, int64_t out_stride) {
  for (int64_t k = 0; k < n; ++k) {
    const auto row = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(x + k * kLanes)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + k * out_stride), row);
  }
}

void decode_latents_bf16(const LatentLayout& layout, const void* page, int64_t n, uint16_t* out,
                         int64_t ld) {
  for (int64_t t = 0; t < n; ++t) {
    uint16_t* row = out + t * ld;
    if (layout.dtype == DType::kBF16) {
      std::copy_n(static_cast<const uint16_t*>(page) + t * layout.width(), layout.width(), row);
      continue;
    }
    const uint8_t* codes = layout.codes(page) + t * layout.code_stride();
    const uint16_t* scales = layout.scales(page) + t * layout.groups();
    for (int64_t c = 0; c < layout.rank; c += kLanes) {
      // 16 channels from c on are four runs of four.
      const uint8_t* at = codes + LatentLayout::code_index(c);
      uint32_t quads[4];
      for (int i = 0; i < 4; ++i) std::memcpy(quads + i, at + 16 * i, 4);
      const __m512i code =
          _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(quads)));
      const __m512 scale = _mm512_castsi512_ps(
          _mm512_set1_epi32(static_cast<int>(uint32_t{scales[c / LatentLayout::kGroup]} << 16)));
      const __m512 x =
          _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(code, _mm512_set1_epi32(128))), scale);
      const auto mask = static_cast<__mmask16>((1u << std::min(kLanes, layout.rank - c)) - 1);
      _mm256_mask_storeu_epi16(row + c, mask, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
    }
    std::copy_n(layout.rope_rows(page) + t * layout.rope_stride(), layout.rope, row + layout.rank);
  }
}

}  // namespace dsv3::kernels
HWY_POP_ATTRIBUTES

#else

namespace dsv3::kernels {

namespace {
[[noreturn]] void missing() { fail("attention in bf16: this processor has no AVX-512 BF16"); }
}  // namespace

void pack_rows_bf16(const float*, int64_t, int64_t, int64_t, int64_t, uint32_t*) { missing(); }
void scores_bf16(int64_t, const uint16_t*, int64_t, int64_t, int64_t, const uint32_t*, int64_t,
                 bool, const uint16_t*, float*) {
  missing();
}
void pack_weights_bf16(const float*, int64_t, uint32_t*) { missing(); }
void values_bf16(int64_t, const uint32_t*, int64_t, int64_t, const uint16_t*, int64_t, int64_t,
                 const float*, float*) {
  missing();
}
void store_rows_bf16(const float*, int64_t, uint16_t*, int64_t) { missing(); }
void decode_latents_bf16(const LatentLayout&, const void*, int64_t, uint16_t*, int64_t) {
  missing();
}

}  // namespace dsv3::kernels

#endif  // HWY_ARCH_X86
