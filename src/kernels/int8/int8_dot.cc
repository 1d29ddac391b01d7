#include "kernels/int8/int8_dot.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "kernels/simd_int8.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/int8/int8_dot.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "kernels/int8/int8_dot4-inl.h"
#include "kernels/int8/int8_unpack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

void gemm_nt_int8_impl(int64_t m, const Int8Rows& a, const WeightView& w, float* c, int64_t ldc) {
  gemm_nt_int8_ref(m, a, w, c, ldc);
}
void quantize_int8_impl(const float* x, int64_t channel, int64_t n, Int8Chunk* row) {
  quantize_int8_channels_ref(x, channel, n, row);
}

#else

constexpr int kBytes = static_cast<int>(hn::MaxLanes(U8()));
constexpr int kCodeVectors = 256 / kBytes;
static_assert(kBytes == 4 * kFloats);

// How far ahead of its use a row of weights is asked for: the hardware's own look-ahead ends at
// each page.
constexpr int64_t kPrefetchBytes = 8192;

// For code vector v: of which vector of scales, and from which lanes of it, its 32-bit lanes take
// their scale.
constexpr int scale_vector(int v) { return v * kBytes / 16 / kFloats; }
using ScaleIndices = decltype(hn::SetTableIndices(F(), static_cast<const int32_t*>(nullptr)));
HWY_INLINE ScaleIndices scale_indices(int v) {
  HWY_ALIGN int32_t index[kFloats];
  for (int lane = 0; lane < kFloats; ++lane) index[lane] = (v * kBytes + 4 * lane) / 16 % kFloats;
  return hn::SetTableIndices(F(), index);
}

#if HWY_MAX_BYTES >= 64

using ChunkCodes = Codes256;
template <class Block>
HWY_INLINE void load_codes(const Block* b, ChunkCodes& out) {
  chunk_codes(b, out);
}

#else

struct ChunkCodes {
  HWY_INLINE ChunkCodes() {}
  VU8 v[kCodeVectors];
};
template <class Block, int g = 0>
HWY_INLINE void load_codes(const Block* b, ChunkCodes& out) {
  if constexpr (g < 8) {
    const Codes32 codes = Unpack<Block>::template codes<g>(b);
    for (int i = 0; i < kParts; ++i) out.v[g * kParts + i] = codes.v[i];
    load_codes<Block, g + 1>(b, out);
  }
}

#endif

// One row of W times the M rows x of A. `end`: of what is read of W after it.
template <class Block, int M>
HWY_INLINE void row_dot(const Int8Chunk* const* x, const Block* row, int64_t cols, const char* end,
                        const ScaleIndices (&indices)[kCodeVectors], float* sums) {
  using Format = Unpack<Block>;
  constexpr bool kBiased = Format::kSigned && kDot4Biased;
  constexpr bool kLess = Format::kHasMinimum || Format::kOffset != 0 || kBiased;
  constexpr float kOffset = kBiased ? 128.0f : static_cast<float>(Format::kOffset);
  const F d;
  const I32 di;
  // With one row of A alone the additions would wait for each other.
  constexpr int kSums = M == 1 ? 2 : 1;
  VF sum[M][kSums], less[M];
  for (int p = 0; p < M; ++p) {
    for (int i = 0; i < kSums; ++i) sum[p][i] = hn::Zero(d);
    less[p] = hn::Zero(d);
  }
  // Always inlined: the sums must stay in registers.
  const auto add_chunk = [&](const Block* b, int64_t chunk) HWY_ATTR
      __attribute__((always_inline)) {
    ChunkCodes codes;
    Scales scale, minimum;
    load_codes(b, codes);
    Format::scales(b, scale, minimum);
    if constexpr (kOffset != 0.0f) {
      for (int i = 0; i < kScaleVectors; ++i)
        minimum.v[i] = hn::Mul(scale.v[i], hn::Set(d, kOffset));
    }
    for (int p = 0; p < M; ++p) {
      const Int8Chunk& a = x[p][chunk];
      VF scales[kScaleVectors];
      for (int i = 0; i < kScaleVectors; ++i) {
        scales[i] = hn::Mul(scale.v[i], hn::Load(d, a.scale + i * kFloats));
        if constexpr (kLess)
          less[p] = hn::MulAdd(minimum.v[i], hn::Load(d, a.sum + i * kFloats), less[p]);
      }
      for (int v = 0; v < kCodeVectors; ++v) {
        const auto q = hn::Load(I8(), a.codes + v * kBytes);
        VI32 products;
        if constexpr (Format::kSigned) {
          products = dot4_signed(hn::Zero(di), hn::BitCast(I8(), codes.v[v]), q);
        } else {
          products = dot4(hn::Zero(di), codes.v[v], q);
        }
        const auto s = hn::TableLookupLanes(scales[scale_vector(v)], indices[v]);
        sum[p][v % kSums] = hn::MulAdd(hn::ConvertTo(d, products), s, sum[p][v % kSums]);
      }
    }
  };
  for_each_chunk(row, cols, kPrefetchBytes, end, add_chunk);
  for (int p = 0; p < M; ++p) {
    VF total = sum[p][0];
    if constexpr (kSums == 2) total = hn::Add(total, sum[p][1]);
    if constexpr (kLess) total = hn::Sub(total, less[p]);
    sums[p] = hn::GetLane(hn::SumOfLanes(d, total));
  }
}

// `rows` <= M rows of C from row i on. What is missing is computed too, and dropped.
template <class Block, int M>
void rows_dot(int64_t rows, const Int8Rows& a, int64_t i, const WeightView& w, float* c,
              int64_t ldc) {
  const Int8Chunk* x[M];
  for (int p = 0; p < M; ++p) x[p] = a.row(i + std::min<int64_t>(p, rows - 1), w.cols);
  ScaleIndices indices[kCodeVectors];
  for (int v = 0; v < kCodeVectors; ++v) indices[v] = scale_indices(v);
  const auto* end = static_cast<const char*>(w.row(w.rows));
  ask_for(w, kPrefetchBytes);
  float sums[M];
  for (int64_t n = 0; n < w.rows; ++n) {
    row_dot<Block, M>(x, static_cast<const Block*>(w.row(n)), w.cols, end, indices, sums);
    for (int64_t p = 0; p < rows; ++p) c[(i + p) * ldc + n] = sums[p];
  }
}

template <class Block>
void gemm_nt_int8_block(int64_t m, const Int8Rows& a, const WeightView& w, float* c, int64_t ldc) {
  for (int64_t i = 0; i < m;) {
    const int64_t rows = std::min(m - i, kInt8DotRows);
    if (rows == 1) {
      rows_dot<Block, 1>(rows, a, i, w, c, ldc);
    } else if (rows == 2) {
      rows_dot<Block, 2>(rows, a, i, w, c, ldc);
    } else if (rows <= 4) {
      rows_dot<Block, 4>(rows, a, i, w, c, ldc);
    } else {
      rows_dot<Block, kInt8DotRows>(rows, a, i, w, c, ldc);
    }
    i += rows;
  }
}

void gemm_nt_int8_impl(int64_t m, const Int8Rows& a, const WeightView& w, float* c, int64_t ldc) {
  if (!with_block(w.format, [&](auto block) HWY_ATTR {
        gemm_nt_int8_block<decltype(block)>(m, a, w, c, ldc);
      })) {
    fail("{} is not a block format", dtype_name(w.format));
  }
}

void quantize_int8_impl(const float* x, int64_t channel, int64_t n, Int8Chunk* row) {
  const F d;
  const I32 di;
  const hn::Rebind<int8_t, F> d8;
  constexpr int kVectors = 32 / kFloats;
  HWY_ALIGN float room[32];
  for (int64_t first = 0; first < n; first += 32) {
    Int8Chunk& chunk = row[(channel + first) / Int8Chunk::kChannels];
    const int64_t at = (channel + first) % Int8Chunk::kChannels;
    const float* from = x + first;
    if (first + 32 > n) {
      std::fill_n(room, 32, 0.0f);
      std::copy(x + first, x + n, room);
      from = room;
    }
    VF v[kVectors];
    auto largest = hn::Zero(d), spoiled = hn::Zero(d);
    for (int i = 0; i < kVectors; ++i) {
      v[i] = hn::LoadU(d, from + i * kFloats);
      largest = hn::Max(largest, hn::Abs(v[i]));
      spoiled = hn::MulAdd(v[i], hn::Zero(d), spoiled);  // NaN if any is NaN or infinite
    }
    const float bad = hn::GetLane(hn::SumOfLanes(d, spoiled));
    const float amax = bad == 0.0f ? hn::GetLane(hn::MaxOfLanes(d, largest)) : 0.0f;
    const auto inverse = hn::Set(d, amax > 0 ? 127.0f / amax : 0.0f);
    const float scale = bad == 0.0f ? amax / 127.0f : bad;
    auto low = hn::Zero(di), high = hn::Zero(di);
    for (int i = 0; i < kVectors; ++i) {
      // A tiny group's inverse is infinite; its codes are then clamped, and times its scale still
      // about right. Rounding of NaN is not defined, so spoiled groups are zeroed.
      auto scaled = hn::Clamp(hn::Mul(v[i], inverse), hn::Set(d, -127.0f), hn::Set(d, 127.0f));
      if (bad != 0.0f || amax == 0.0f) scaled = hn::Zero(d);
      const auto code = hn::NearestInt(scaled);
      hn::StoreU(hn::DemoteTo(d8, code), d8, chunk.codes + at + i * kFloats);
      (i < kVectors / 2 ? low : high) = hn::Add(i < kVectors / 2 ? low : high, code);
    }
    const int64_t g = at / 16;
    chunk.scale[g] = chunk.scale[g + 1] = scale;
    chunk.sum[g] = scale * static_cast<float>(hn::GetLane(hn::SumOfLanes(di, low)));
    chunk.sum[g + 1] = scale * static_cast<float>(hn::GetLane(hn::SumOfLanes(di, high)));
  }
}

#endif  // HWY_SCALAR

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dsv3::kernels {

HWY_EXPORT(gemm_nt_int8_impl);
HWY_EXPORT(quantize_int8_impl);

void gemm_nt_int8(int64_t m, const Int8Rows& a, const WeightView& w, float* c, int64_t ldc) {
  HWY_DYNAMIC_DISPATCH(gemm_nt_int8_impl)(m, a, w, c, ldc);
}

void quantize_int8_channels(const float* x, int64_t channel, int64_t n, Int8Chunk* row) {
  HWY_DYNAMIC_DISPATCH(quantize_int8_impl)(x, channel, n, row);
}

void quantize_int8(const float* x, int64_t n, Int8Chunk* out) {
  if (n % Int8Chunk::kChannels != 0) out[int8_chunks(n) - 1] = {};
  quantize_int8_channels(x, 0, n, out);
}

}  // namespace dsv3::kernels
#endif  // HWY_ONCE
