#include "kernels/gemm/gemm.h"

#include <algorithm>
#include <cstring>

#include "kernels/block_decode/block_decode.h"
#include "kernels/scratch.h"
#include "kernels/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/gemm.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "kernels/weight_decode-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// Register tiles: rows of A times rows (nt) or vectors of columns (nn) of W. With 32 registers
// (AVX-512, NEON) 4 x 4 accumulators leave room for the operands; with 16 it is 4 x 2.
constexpr int kTileM = 4;
constexpr int kTileN = (HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON) ? 4 : 2;
constexpr int kPartialSums = 4;
// Columns whose part of a tile's rows stays in the first-level cache.
constexpr int64_t kSegment = 512;

// With a single row of A, reading W takes the time: one row of W after the other is how the
// hardware foresees it best, as long as the row of A stays in the first-level cache.
constexpr int64_t kLongRow = 4096;
constexpr int kTileNLong = 8;

// From this many rows of A on, rows of W are decoded once into scratch memory and used from there.
constexpr int64_t kDecodeFrom = 2 * kTileM + 1;
constexpr int64_t kDecodeRows = 16;

HWY_INLINE const float* a_row(const ActivationRows& a, int64_t i) {
  return a.data + (a.rows != nullptr ? a.rows[i] : i) * a.stride;
}

// Adds the columns from `k` on that do not fill a vector, zero-padded, to the sums.
template <class Format, int M, int N>
HWY_INLINE void add_tail(const float* const* a_rows, const WeightView& w, int64_t n, int64_t k,
                         V (&sum)[M][N]) {
  const D d;
  HWY_ALIGN float x[hn::MaxLanes(D())] = {};
  HWY_ALIGN float y[N][hn::MaxLanes(D())] = {};
  for (int q = 0; q < N; ++q) {
    for (int64_t t = k; t < w.cols; ++t) y[q][t - k] = Format::decode_one(w, n + q, t);
  }
  for (int p = 0; p < M; ++p) {
    std::copy(a_rows[p] + k, a_rows[p] + w.cols, x);
    for (int q = 0; q < N; ++q) {
      sum[p][q] = hn::MulAdd(hn::Load(d, x), hn::Load(d, y[q]), sum[p][q]);
    }
  }
}

// Adds the products of a segment of `count` columns, whole vectors, to the totals: vector v to
// partial sum v modulo kPartialSums, then the partial sums in order.
//
// A single element keeps all its partial sums at once, which lets a row of W be read at the
// speed of memory. A larger tile has no registers for that, and makes one partial sum of all its
// elements after the other; a segment stays in the nearest cache for so long.
template <class Format, int M, int N>
HWY_INLINE void add_segment(const float* const (&x)[M],
                            const typename Format::Stored* const (&y)[N], const V (&scale)[N],
                            int64_t count, V (&total)[M][N]) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  if constexpr (M * N == 1) {
    V s0 = hn::Zero(d), s1 = hn::Zero(d), s2 = hn::Zero(d), s3 = hn::Zero(d);
    const auto multiply_add = [&](int64_t k, V sum) HWY_ATTR {
      return hn::MulAdd(hn::LoadU(d, x[0] + k), Format::load(d, y[0] + k, scale[0]), sum);
    };
    int64_t k = 0;
    for (; k + 4 * lanes <= count; k += 4 * lanes) {
      s0 = multiply_add(k, s0);
      s1 = multiply_add(k + lanes, s1);
      s2 = multiply_add(k + 2 * lanes, s2);
      s3 = multiply_add(k + 3 * lanes, s3);
    }
    for (V* s : {&s0, &s1, &s2}) {
      if (k >= count) break;
      *s = multiply_add(k, *s);
      k += lanes;
    }
    total[0][0] = hn::Add(hn::Add(hn::Add(hn::Add(total[0][0], s0), s1), s2), s3);
  } else {
    for (int u = 0; u < kPartialSums; ++u) {
      V sum[M][N];
      for (int p = 0; p < M; ++p) {
        for (int q = 0; q < N; ++q) sum[p][q] = hn::Zero(d);
      }
      for (int64_t k = u * lanes; k < count; k += kPartialSums * lanes) {
        V weights[N];
        for (int q = 0; q < N; ++q) weights[q] = Format::load(d, y[q] + k, scale[q]);
        for (int p = 0; p < M; ++p) {
          const V v = hn::LoadU(d, x[p] + k);
          for (int q = 0; q < N; ++q) sum[p][q] = hn::MulAdd(v, weights[q], sum[p][q]);
        }
      }
      for (int p = 0; p < M; ++p) {
        for (int q = 0; q < N; ++q) total[p][q] = hn::Add(total[p][q], sum[p][q]);
      }
    }
  }
}

// M x N elements of C from row i of A and row n of W on, all by this order of additions: the
// columns go in segments of kSegment (less where a scale changes), as add_segment has it; then
// comes the rest that does not fill a vector, and last the lanes are added.
template <class Format, int M, int N>
HWY_INLINE void tile_nt(const ActivationRows& a, int64_t i, const WeightView& w, int64_t n,
                        float* c, int64_t ldc) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t whole = w.cols / lanes * lanes;
  const float* a_rows[M];
  for (int p = 0; p < M; ++p) a_rows[p] = a_row(a, i + p);
  const typename Format::Stored* w_rows[N];
  for (int q = 0; q < N; ++q) w_rows[q] = Format::row(w, n + q);
  V total[M][N];
  for (int p = 0; p < M; ++p) {
    for (int q = 0; q < N; ++q) total[p][q] = hn::Zero(d);
  }

  for (int64_t begin = 0; begin < whole;) {
    const int64_t end = std::min({whole, Format::segment_end(w, begin, w.cols), begin + kSegment});
    V scale[N];
    const float* x[M];
    const typename Format::Stored* y[N];
    for (int p = 0; p < M; ++p) x[p] = a_rows[p] + begin;
    for (int q = 0; q < N; ++q) {
      scale[q] = hn::Set(d, Format::scale(w, n + q, begin));
      y[q] = w_rows[q] + begin;
    }
    add_segment<Format, M, N>(x, y, scale, end - begin, total);
    begin = end;
  }
  if (whole < w.cols) add_tail<Format, M, N>(a_rows, w, n, whole, total);
  for (int p = 0; p < M; ++p) {
    for (int q = 0; q < N; ++q) {
      c[(i + p) * ldc + n + q] = hn::GetLane(hn::SumOfLanes(d, total[p][q]));
    }
  }
}

template <class Format, int M, int N>
HWY_INLINE void strip_nt(const ActivationRows& a, int64_t i, const WeightView& w, float* c,
                         int64_t ldc) {
  int64_t n = 0;
  for (; n + N <= w.rows; n += N) tile_nt<Format, M, N>(a, i, w, n, c, ldc);
  for (; n < w.rows; ++n) tile_nt<Format, M, 1>(a, i, w, n, c, ldc);
}

template <class Format>
void gemm_nt_format(int64_t m, const ActivationRows& a, const WeightView& w, float* c,
                    int64_t ldc) {
  int64_t i = 0;
  for (; i + kTileM <= m; i += kTileM) strip_nt<Format, kTileM, kTileN>(a, i, w, c, ldc);
  for (; i < m; ++i) {
    if (w.cols >= kLongRow) {
      strip_nt<Format, 1, kTileNLong>(a, i, w, c, ldc);
    } else {
      strip_nt<Format, 1, 1>(a, i, w, c, ldc);
    }
  }
}

template <class Format>
void decode_format(const WeightView& w, float* out, int64_t ld) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t r = 0; r < w.rows; ++r) {
    const typename Format::Stored* in = Format::row(w, r);
    int64_t k = 0;
    while (k + lanes <= w.cols) {
      const int64_t segment_end = Format::segment_end(w, k, w.cols);
      const V scale = hn::Set(d, Format::scale(w, r, k));
      for (; k + lanes <= segment_end; k += lanes) {
        hn::StoreU(Format::load(d, in + k, scale), d, out + r * ld + k);
      }
    }
    for (; k < w.cols; ++k) out[r * ld + k] = Format::decode_one(w, r, k);
  }
}

void decode_impl(const WeightView& w, float* out, int64_t ld) {
  if (is_block_format(w.format)) {
    for (int64_t r = 0; r < w.rows; ++r) decode_blocks(w.format, w.row(r), w.cols, out + r * ld);
    return;
  }
  if (!has_vector_segments(w)) return decode_ref(w, out, ld);
  with_format(w, [&](auto format) HWY_ATTR { decode_format<decltype(format)>(w, out, ld); });
}

// One row of A and W in a block format: a segment of W is decoded at a time, and used while it is
// in the first-level cache. More rows would need several rows of W at once for their tiles, which
// the hardware foresees less well than one. The order of additions is that of tile_nt.
void gemm_nt_block_row(const float* x, const WeightView& w, float* c) {
  const D d;
  HWY_ALIGN float decoded[kSegment];
  const V scale[1] = {hn::Set(d, 1.0f)};
  const float* const y[1] = {decoded};
  for (int64_t n = 0; n < w.rows; ++n) {
    V total[1][1] = {{hn::Zero(d)}};
    for (int64_t begin = 0; begin < w.cols; begin += kSegment) {
      const int64_t count = std::min(kSegment, w.cols - begin);
      decode_blocks(w.format, w.at(n * w.row_stride + begin), count, decoded);
      const float* const x_segment[1] = {x + begin};
      add_segment<FormatF32, 1, 1>(x_segment, y, scale, count, total);
    }
    c[n] = hn::GetLane(hn::SumOfLanes(d, total[0][0]));
  }
}

void gemm_nt_impl(int64_t m, const ActivationRows& a, const WeightView& w, float* c, int64_t ldc) {
  if (w.format == DType::kF32) return gemm_nt_format<FormatF32>(m, a, w, c, ldc);
  if (m == 1 && is_block_format(w.format)) return gemm_nt_block_row(a_row(a, 0), w, c);
  if (m < kDecodeFrom && has_vector_segments(w) && !is_block_format(w.format)) {
    with_format(w,
                [&](auto format) HWY_ATTR { gemm_nt_format<decltype(format)>(m, a, w, c, ldc); });
    return;
  }
  static thread_local Scratch scratch;
  float* decoded = scratch.get(kDecodeRows * w.cols);
  for (int64_t n = 0; n < w.rows; n += kDecodeRows) {
    const int64_t rows = std::min(kDecodeRows, w.rows - n);
    decode_impl(w.slice_rows(n, n + rows), decoded, w.cols);
    WeightView f32 = f32_view(decoded, rows, w.cols, w.cols);
    // The same segments as without decoding, so that the sums are the same.
    if (has_vector_segments(w)) f32.block_cols = w.block_cols;
    gemm_nt_format<FormatF32>(m, a, f32, c + n, ldc);
  }
}

// M rows of C, N vectors of columns from column n on.
template <int M, int N>
HWY_INLINE void tile_nn(const ActivationRows& a, int64_t i, const WeightView& w, int64_t n,
                        float* c, int64_t ldc, bool accumulate) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const float* a_rows[M];
  for (int p = 0; p < M; ++p) a_rows[p] = a_row(a, i + p);
  V sum[M][N];
  for (int p = 0; p < M; ++p) {
    for (int q = 0; q < N; ++q) {
      sum[p][q] = accumulate ? hn::LoadU(d, c + (i + p) * ldc + n + q * lanes) : hn::Zero(d);
    }
  }
  for (int64_t k = 0; k < w.rows; ++k) {
    const float* w_row = static_cast<const float*>(w.row(k)) + n;
    V weights[N];
    for (int q = 0; q < N; ++q) weights[q] = hn::LoadU(d, w_row + q * lanes);
    for (int p = 0; p < M; ++p) {
      const V x = hn::Set(d, a_rows[p][k]);
      for (int q = 0; q < N; ++q) sum[p][q] = hn::MulAdd(x, weights[q], sum[p][q]);
    }
  }
  for (int p = 0; p < M; ++p) {
    for (int q = 0; q < N; ++q) hn::StoreU(sum[p][q], d, c + (i + p) * ldc + n + q * lanes);
  }
}

// The columns from n on that do not fill a vector. Fused multiply-add, as in the vectors.
HWY_INLINE void tail_nn(const ActivationRows& a, int64_t i, const WeightView& w, int64_t n,
                        float* c, int64_t ldc, bool accumulate) {
  const hn::CappedTag<float, 1> one;
  for (; n < w.cols; ++n) {
    auto sum = hn::Set(one, accumulate ? c[i * ldc + n] : 0.0f);
    for (int64_t k = 0; k < w.rows; ++k) {
      const float* w_row = static_cast<const float*>(w.row(k));
      sum = hn::MulAdd(hn::Set(one, a_row(a, i)[k]), hn::Set(one, w_row[n]), sum);
    }
    c[i * ldc + n] = hn::GetLane(sum);
  }
}

template <int M>
HWY_INLINE void strip_nn(const ActivationRows& a, int64_t i, const WeightView& w, float* c,
                         int64_t ldc, bool accumulate) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t n = 0;
  for (; n + kTileN * lanes <= w.cols; n += kTileN * lanes) {
    tile_nn<M, kTileN>(a, i, w, n, c, ldc, accumulate);
  }
  for (; n + lanes <= w.cols; n += lanes) tile_nn<M, 1>(a, i, w, n, c, ldc, accumulate);
  for (int p = 0; p < M; ++p) tail_nn(a, i + p, w, n, c, ldc, accumulate);
}

void gemm_nn_f32(int64_t m, const ActivationRows& a, const WeightView& w, float* c, int64_t ldc,
                 bool accumulate) {
  int64_t i = 0;
  for (; i + kTileM <= m; i += kTileM) strip_nn<kTileM>(a, i, w, c, ldc, accumulate);
  for (; i < m; ++i) strip_nn<1>(a, i, w, c, ldc, accumulate);
}

void gemm_nn_impl(int64_t m, const ActivationRows& a, const WeightView& w, float* c, int64_t ldc,
                  bool accumulate) {
  if (w.format == DType::kF32 || w.rows == 0) return gemm_nn_f32(m, a, w, c, ldc, accumulate);
  // Decoded rows stay in the nearest cache for the few rows of A that decoding has; with many, C
  // would go through the caches for each of these blocks.
  static thread_local Scratch scratch;
  const int64_t rows = m <= kTileM ? kDecodeRows : w.rows;
  float* decoded = scratch.get(rows * w.cols);
  for (int64_t k = 0; k < w.rows; k += rows) {
    const WeightView some = w.slice_rows(k, std::min(w.rows, k + rows));
    decode_impl(some, decoded, w.cols);
    const ActivationRows columns{a.data + k, a.stride, a.rows};
    gemm_nn_f32(m, columns, f32_view(decoded, some.rows, w.cols, w.cols), c, ldc,
                accumulate || k > 0);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dsv3::kernels {

HWY_EXPORT(decode_impl);
HWY_EXPORT(gemm_nt_impl);
HWY_EXPORT(gemm_nn_impl);

void decode(const WeightView& w, float* out, int64_t ld) {
  HWY_DYNAMIC_DISPATCH(decode_impl)(w, out, ld);
}

void gemm_nt(int64_t m, const ActivationRows& a, const WeightView& w, float* c, int64_t ldc) {
  HWY_DYNAMIC_DISPATCH(gemm_nt_impl)(m, a, w, c, ldc);
}

void gemm_nn(int64_t m, const ActivationRows& a, const WeightView& w, float* c, int64_t ldc,
             bool accumulate) {
  HWY_DYNAMIC_DISPATCH(gemm_nn_impl)(m, a, w, c, ldc, accumulate);
}

}  // namespace dsv3::kernels
#endif  // HWY_ONCE
