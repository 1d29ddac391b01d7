// Products of float32 panels and their packing.
#include <algorithm>
#include <utility>

#include "formats/float_formats.h"
#include "kernels/matmul/matmul_kernels.h"
#include "kernels/simd.h"
#include "kernels/transpose16.h"

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
// GCC 12 finds what its own intrinsics leave undefined on purpose (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul/matmul_f32.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));

// Rows of a tile, as many as there are registers for its sums, two vectors a row.
constexpr int kTileRows = (HWY_TARGET == HWY_AVX3)   ? 14
                          : (HWY_TARGET == HWY_NEON) ? 12
                          : (HWY_TARGET == HWY_AVX2) ? 6
                                                     : 4;
static_assert(kTileRows <= kMaxVectorTileRows);

// Numbers of a row as float32, times a factor, rounded to bfloat16 if so wanted. kPlain: rows lie
// one after the other and are not scaled.
template <bool kBF16, bool kRound, bool kPlain>
struct Reader {
  static constexpr bool kCopies = kPlain && !kBF16 && !kRound;  // float32 from float32
  const PanelSource& x;
  const void* data = x.matrix.data;

  HWY_INLINE int64_t row(int64_t r) const { return kPlain ? r * x.matrix.stride : x.row(r); }
  HWY_INLINE float scale(int64_t r) const { return kPlain ? 1.0f : x.scale(r); }
  HWY_INLINE void prefetch(int64_t at) const {
    if constexpr (kPlain && kBF16) hwy::Prefetch(static_cast<const uint16_t*>(data) + at);
    if constexpr (kPlain && !kBF16) hwy::Prefetch(static_cast<const float*>(data) + at);
  }

  template <class DF>
  HWY_INLINE hn::Vec<DF> load(DF d, int64_t at, float factor) const {
    hn::Vec<DF> v;
    if constexpr (kBF16) {
      const hn::Rebind<uint32_t, DF> du;
      const hn::Rebind<uint16_t, DF> narrow;
      const auto half = hn::LoadU(narrow, static_cast<const uint16_t*>(data) + at);
      v = hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, half)));
    } else {
      v = hn::LoadU(d, static_cast<const float*>(data) + at);
    }
    return finish(d, v, factor);
  }
#if HWY_TARGET == HWY_AVX3
  // The first `n`, then zeros.
  template <class DF>
  HWY_INLINE hn::Vec<DF> load_some(DF d, int64_t at, int64_t n, float factor) const {
    const auto count = static_cast<size_t>(n);
    hn::Vec<DF> v;
    if constexpr (kBF16) {
      const hn::Rebind<uint32_t, DF> du;
      const hn::Rebind<uint16_t, DF> narrow;
      const auto half = hn::MaskedLoad(hn::FirstN(narrow, count), narrow,
                                       static_cast<const uint16_t*>(data) + at);
      v = hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, half)));
    } else {
      v = hn::MaskedLoad(hn::FirstN(d, count), d, static_cast<const float*>(data) + at);
    }
    return finish(d, v, factor);
  }
#endif
  template <class DF>
  static HWY_INLINE hn::Vec<DF> finish(DF d, hn::Vec<DF> v, float factor) {
    const hn::Rebind<uint32_t, DF> du;
    if constexpr (!kPlain) v = hn::Mul(v, hn::Set(d, factor));
    if constexpr (kRound) {
      // To nearest, ties to even; the addition could carry a NaN over into another number.
      const auto word = hn::BitCast(du, v);
      const auto odd = hn::And(hn::ShiftRight<16>(word), hn::Set(du, 1));
      const auto up = hn::Add(word, hn::Add(odd, hn::Set(du, 0x7fff)));
      const auto rounded = hn::BitCast(d, hn::And(up, hn::Set(du, 0xffff0000u)));
      v = hn::IfThenElse(hn::IsNaN(v), v, rounded);
    }
    return v;
  }
  float one(int64_t at, float factor) const {
    float v = kBF16 ? formats::bf16_to_float(static_cast<const uint16_t*>(data)[at])
                    : static_cast<const float*>(data)[at];
    v *= factor;
    return kRound ? formats::bf16_to_float(formats::float_to_bf16(v)) : v;
  }
};

using D4 = hn::CappedTag<float, 4>;

#if HWY_TARGET == HWY_AVX3
// 4 columns of 16 rows. Loads that fill a part of a vector do half of the shuffling's work.
HWY_INLINE void pack_4_columns(const float* data, const int64_t (&at)[16], int64_t step_words,
                               float* out) {
  __m512 r[4];  // r[i]: columns 0 to 3 of rows i, 4 + i, 8 + i and 12 + i
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_castps128_ps512(_mm_loadu_ps(data + at[i]));
    r[i] = _mm512_mask_broadcast_f32x4(r[i], 0x00f0, _mm_loadu_ps(data + at[4 + i]));
    r[i] = _mm512_mask_broadcast_f32x4(r[i], 0x0f00, _mm_loadu_ps(data + at[8 + i]));
    r[i] = _mm512_mask_broadcast_f32x4(r[i], 0xf000, _mm_loadu_ps(data + at[12 + i]));
  }
  const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(r[0], r[1]));
  const __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(r[0], r[1]));
  const __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(r[2], r[3]));
  const __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(r[2], r[3]));
  _mm512_storeu_pd(out, _mm512_unpacklo_pd(low01, low23));
  _mm512_storeu_pd(out + step_words, _mm512_unpackhi_pd(low01, low23));
  _mm512_storeu_pd(out + 2 * step_words, _mm512_unpacklo_pd(high01, high23));
  _mm512_storeu_pd(out + 3 * step_words, _mm512_unpackhi_pd(high01, high23));
}

// Lanes are rows: 16 rows in 16 columns at a time, or 4 where numbers are only copied.
template <class Read>
int64_t pack_row_blocks(const Read& read, int64_t lane, int lanes, int64_t k, int64_t count,
                        int64_t step_words, float* out) {
  int64_t at[16];
  float scale[16];
  for (int group = 0; group < lanes; group += 16) {
    for (int i = 0; i < 16; ++i) {
      const int64_t r = lane + std::min(group + i, lanes - 1);
      at[i] = read.row(r) + k;
      scale[i] = read.scale(r);
    }
    // Whole vectors are stored even where fewer lanes are left: the next step overwrites them.
    float* to = out + group;
    int64_t q = 0;
    if constexpr (Read::kCopies) {
      const auto* data = static_cast<const float*>(read.data);
      for (; q + 4 <= count; q += 4) pack_4_columns(data + q, at, step_words, to + q * step_words);
    }
    for (; q + 16 <= count; q += 16) {
      __m512i r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        r[i] = _mm512_castps_si512(read.load(D(), at[i] + q, scale[i]).raw);
      }
      transpose16(r);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + (q + i) * step_words, r[i]);
    }
    if (q < count) {
      __m512i r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        r[i] = _mm512_castps_si512(read.load_some(D(), at[i] + q, count - q, scale[i]).raw);
      }
      transpose16(r);
      for (int i = 0; q + i < count; ++i) _mm512_storeu_si512(to + (q + i) * step_words, r[i]);
    }
  }
  return count;
}
#elif HWY_TARGET == HWY_SCALAR
template <class Read>
int64_t pack_row_blocks(const Read&, int64_t, int, int64_t, int64_t, int64_t, float*) {
  return 0;
}
#else
// Lanes are rows: 4 rows in 4 columns at a time.
template <class Read>
int64_t pack_row_blocks(const Read& read, int64_t lane, int lanes, int64_t k, int64_t count,
                        int64_t step_words, float* out) {
  const D4 d;
  const hn::Repartition<double, D4> pairs;
  if (lanes < 4) return 0;
  for (int begin = 0; begin < lanes; begin += 4) {
    const int group = std::min(begin, lanes - 4);  // the last may repeat some of those before
    int64_t at[4];
    float scale[4];
    for (int i = 0; i < 4; ++i) {
      at[i] = read.row(lane + group + i) + k;
      scale[i] = read.scale(lane + group + i);
    }
    for (int64_t q = 0; q + 4 <= count; q += 4) {
      hn::Vec<D4> r[4];
      for (int i = 0; i < 4; ++i) r[i] = read.load(d, at[i] + q, scale[i]);
      const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, r[0], r[1]));
      const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, r[0], r[1]));
      const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, r[2], r[3]));
      const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, r[2], r[3]));
      float* to = out + group + q * step_words;
      const auto store = [&](int i, auto v)
                             HWY_ATTR { hn::StoreU(hn::BitCast(d, v), d, to + i * step_words); };
      store(0, hn::InterleaveLower(pairs, low01, low23));
      store(1, hn::InterleaveUpper(pairs, low01, low23));
      store(2, hn::InterleaveLower(pairs, high01, high23));
      store(3, hn::InterleaveUpper(pairs, high01, high23));
    }
  }
  return count / 4 * 4;
}
#endif

// Lanes are rows.
template <class Read>
void pack_rows(const Read& read, int64_t lane, int lanes, int64_t k, int64_t count,
               int64_t step_words, float* out) {
  const int64_t done = pack_row_blocks(read, lane, lanes, k, count, step_words, out);
  for (int i = 0; i < lanes && done < count; ++i) {
    const int64_t at = read.row(lane + i) + k;
    const float scale = read.scale(lane + i);
    for (int64_t q = done; q < count; ++q) out[q * step_words + i] = read.one(at + q, scale);
  }
}

// Lanes lie side by side.
#if HWY_TARGET == HWY_AVX3
template <class Read>
void pack_columns(const Read& read, int64_t lane, int lanes, int64_t k, int64_t count,
                  int64_t step_words, float* out) {
  const int64_t ahead = read.x.prefetch_distance(k);
  for (int group = 0; group < lanes; group += 16) {
    const int some = std::min(16, lanes - group);
    float* to = out + group;
    for (int64_t r = k; r < k + count; ++r) {
      const int64_t at = read.row(r) + lane + group;
      if (ahead != 0) read.prefetch(at + ahead);
      hn::StoreU(read.load_some(D(), at, some, read.scale(r)), D(), to);
      to += step_words;
    }
  }
}
#else
// In vectors of which the last may repeat numbers of that before it.
template <class DF, class Read>
HWY_INLINE void copy_lanes(DF d, const Read& read, int64_t lane, int lanes, int64_t k,
                           int64_t count, int64_t step_words, float* out) {
  const int width = static_cast<int>(hn::MaxLanes(d));
  const int64_t ahead = read.x.prefetch_distance(k);
  for (int64_t r = k; r < k + count; ++r) {
    const int64_t at = read.row(r) + lane;
    if (ahead != 0) read.prefetch(at + ahead);
    const float scale = read.scale(r);
    for (int i = 0; i + width <= lanes; i += width) {
      hn::StoreU(read.load(d, at + i, scale), d, out + i);
    }
    if (lanes % width != 0) {
      hn::StoreU(read.load(d, at + lanes - width, scale), d, out + lanes - width);
    }
    out += step_words;
  }
}

template <class Read>
void pack_columns(const Read& read, int64_t lane, int lanes, int64_t k, int64_t count,
                  int64_t step_words, float* out) {
  const hn::CappedTag<float, 2> two;
  const hn::CappedTag<float, 1> one;
  if (lanes >= kLanes) {
    copy_lanes(D(), read, lane, lanes, k, count, step_words, out);
  } else if (lanes >= static_cast<int>(hn::MaxLanes(D4()))) {
    copy_lanes(D4(), read, lane, lanes, k, count, step_words, out);
  } else if (lanes >= 2) {
    copy_lanes(two, read, lane, lanes, k, count, step_words, out);
  } else {
    copy_lanes(one, read, lane, lanes, k, count, step_words, out);
  }
}
#endif

template <bool kBF16, bool kRound, bool kPlain>
void pack_from(const PanelSource& x, int64_t lane, int lanes, int64_t k, int64_t count,
               int64_t step_words, float* out) {
  const Reader<kBF16, kRound, kPlain> read{x};
  if (x.lanes_are_rows) {
    pack_rows(read, lane, lanes, k, count, step_words, out);
  } else {
    pack_columns(read, lane, lanes, k, count, step_words, out);
  }
}

void pack(const PanelSource& x, int64_t lane, int lanes, int64_t k, int64_t count,
          int64_t step_words, float* out) {
  const bool bf16 = x.matrix.bf16;
  const auto run = x.round ? (bf16 ? pack_from<true, true, false> : pack_from<false, true, false>)
                   : x.is_plain()
                       ? (bf16 ? pack_from<true, false, true> : pack_from<false, false, true>)
                       : (bf16 ? pack_from<true, false, false> : pack_from<false, false, false>);
  run(x, lane, lanes, k, count, step_words, out);
}

template <int M, int N>
void tile(int64_t steps, const float* a, int64_t a_step, const float* b, int64_t b_step, bool add,
          float* c, int64_t ldc) {
  const D d;
  V sum[M][N];
  // Unrolled, as otherwise the compiler keeps the sums in memory before and after the loop.
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i) {
    for (int v = 0; v < N; ++v) sum[i][v] = hn::Zero(d);
  }
  for (int64_t s = 0; s < steps; ++s) {
    V columns[N];
    for (int v = 0; v < N; ++v) columns[v] = hn::LoadU(d, b + kLanes * v);
    for (int i = 0; i < M; ++i) {
      const V row = hn::Set(d, a[i]);
      for (int v = 0; v < N; ++v) sum[i][v] = hn::MulAdd(row, columns[v], sum[i][v]);
    }
    a += a_step;
    b += b_step;
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i) {
    for (int v = 0; v < N; ++v) {
      float* to = c + kLanes * v;
      if (add) sum[i][v] = hn::Add(hn::LoadU(d, to), sum[i][v]);
      hn::StoreU(sum[i][v], d, to);
    }
    c += ldc;
  }
}

template <int... I>
constexpr MatmulKernels make_kernels(std::integer_sequence<int, I...>) {
  return {.step_k = 1,
          .lanes = kLanes,
          .tile_rows = kTileRows,
          .block_steps = 256,
          .pack = pack,
          .tiles = {{tile<I + 1, 1>...}, {tile<I + 1, 2>...}}};
}

const MatmulKernels* f32_kernels_impl() {
  static constexpr MatmulKernels kKernels =
      make_kernels(std::make_integer_sequence<int, kTileRows>());
  return &kKernels;
}

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dsv3::kernels {

HWY_EXPORT(f32_kernels_impl);

const MatmulKernels& f32_matmul_kernels() { return *HWY_DYNAMIC_DISPATCH(f32_kernels_impl)(); }

}  // namespace dsv3::kernels
#endif  // HWY_ONCE
