// Products of bfloat16 panels, by AVX-512 BF16 and by AMX.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "formats/float_formats.h"
#include "kernels/amx_tiles.h"
#include "kernels/gemm/gemm.h"
#include "kernels/packed/panel_products.h"
#include "kernels/scratch.h"
#include "kernels/variants.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "hwy/base.h"  // HWY_PUSH_ATTRIBUTES
#endif

namespace dsv3::kernels {
namespace {

// Rows of W that go together.
constexpr int64_t kRows = 32;

// Rows of W as bfloat16, `stride` elements apart, zeros up to a multiple of 32 columns.
struct BF16Rows {
  const uint16_t* data;
  int64_t stride;
  int64_t blocks;                  // of 32 columns
  const uint16_t* next = nullptr;  // rows that come next, if they will be read from there
};

#if defined(__x86_64__)
HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")

void round_row(const float* x, int64_t n, uint16_t* out) {
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const auto both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i));
    std::memcpy(out + i, &both, 64);
  }
  for (; i < n; ++i) out[i] = formats::float_to_bf16(x[i]);
}

// N rows of W times the rows of T panels: C^T, rows `ld` floats apart.
template <int N, int T>
inline void dot_tile(const BF16Panel* x, int64_t panel_stride, const BF16Rows& w, int64_t row,
                     float* ct, int64_t ld) {
  __m512 sum[N][T];
  for (int n = 0; n < N; ++n) {
    for (int t = 0; t < T; ++t) sum[n][t] = _mm512_setzero_ps();
  }
  for (int64_t block = 0; block < w.blocks; ++block) {
    const uint16_t* weights[N];
    for (int n = 0; n < N; ++n) weights[n] = w.data + (row + n) * w.stride + block * 32;
#pragma GCC unroll 16
    for (int q = 0; q < 16; ++q) {
      __m512bh rows[T];
      for (int t = 0; t < T; ++t) {
        std::memcpy(&rows[t], x[t * panel_stride + block].values[q], 64);
      }
      for (int n = 0; n < N; ++n) {
        int32_t pair;
        std::memcpy(&pair, weights[n] + 2 * q, 4);
        const __m512i broadcast = _mm512_set1_epi32(pair);
        __m512bh b;
        std::memcpy(&b, &broadcast, 64);
        for (int t = 0; t < T; ++t) sum[n][t] = _mm512_dpbf16_ps(sum[n][t], rows[t], b);
      }
    }
  }
  for (int n = 0; n < N; ++n) {
    for (int t = 0; t < T; ++t) _mm512_storeu_ps(ct + (row + n) * ld + 16 * t, sum[n][t]);
  }
}

template <int T>
void dot_strip(const BF16Panel* x, int64_t panel_stride, const BF16Rows& w, int64_t rows, float* ct,
               int64_t ld) {
  int64_t row = 0;
  constexpr int kTile = 8;
  for (; row + kTile <= rows; row += kTile) dot_tile<kTile, T>(x, panel_stride, w, row, ct, ld);
  for (; row < rows; ++row) dot_tile<1, T>(x, panel_stride, w, row, ct, ld);
}

struct DotProducts {
  static constexpr int64_t kWholeRows = 1;  // rows of W that are read together
  static constexpr int64_t kPanels = 3;     // panels of X in a call, at most 4
  static constexpr bool kAsksForRows = false;
  static void run(int64_t panels, const BF16Panel* x, const BF16Rows& w, int64_t rows, float* ct,
                  int64_t ld) {
    if (panels == 3) return dot_strip<3>(x, w.blocks, w, rows, ct, ld);
    if (panels == 2) return dot_strip<2>(x, w.blocks, w, rows, ct, ld);
    return dot_strip<1>(x, w.blocks, w, rows, ct, ld);
  }
};

HWY_POP_ATTRIBUTES
#endif

struct TileProducts {
  static constexpr int64_t kWholeRows = 16;
  static constexpr int64_t kPanels = 4;
  // A tile takes a line from each of 16 rows, which the hardware does not foresee: rows that are
  // used as they lie in memory are asked for before, the first ones all at once.
  static constexpr bool kAsksForRows = true;
  static void run(int64_t panels, const BF16Panel* x, const BF16Rows& w, int64_t rows, float* ct,
                  int64_t ld) {
    const int64_t w_row = 2 * w.stride, x_panel = w.blocks * int64_t{sizeof(BF16Panel)};
    with_tiles([&](auto& tiles) {
      tile_product<TileNumbers::kBFloat16>(
          tiles, (rows + kTileRows - 1) / kTileRows, panels, w.blocks,
          {.data = w.data, .row_stride = w_row, .step = 64, .block_stride = kTileRows * w_row},
          {.data = x, .row_stride = 64, .step = kTileBytes, .block_stride = x_panel}, false,
          {.data = ct, .row_stride = 4 * ld, .block_stride = 64 * ld, .panel_stride = 64}, w.next);
    });
  }
};

void round_row_plain(const float* x, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = formats::float_to_bf16(x[i]);
}

}  // namespace

void round_to_bf16(const float* x, int64_t n, uint16_t* out) {
#if defined(__x86_64__)
  if (current_features().avx512_bf16) return round_row(x, n, out);
#endif
  round_row_plain(x, n, out);
}

namespace {

// Rows of W for a product that reads whole multiples of `whole_rows`: as they lie in memory where
// that will do, else decoded, rounded and filled up with zeros.
BF16Rows bf16_rows(const WeightView& w, int64_t whole_rows, uint16_t* room, float* row) {
  const int64_t blocks = (w.cols + 31) / 32, stride = 32 * blocks;
  if (w.format == DType::kBF16 && w.cols == stride && w.rows % whole_rows == 0) {
    return {static_cast<const uint16_t*>(w.data), w.row_stride, blocks};
  }
  const bool unpacked =
      is_block_format(w.format) && current_features().avx512_bf16 && unpack_bf16(w, stride, room);
  for (int64_t r = 0; r < w.rows && !unpacked; ++r) {
    uint16_t* to = room + r * stride;
    if (w.format == DType::kBF16) {
      std::memcpy(to, w.row(r), static_cast<size_t>(w.cols) * sizeof(uint16_t));
    } else {
      decode(w.slice_rows(r, r + 1), row, w.cols);
      round_to_bf16(row, w.cols, to);
    }
    std::fill(to + w.cols, to + stride, uint16_t{0});
  }
  const int64_t filled = (w.rows + whole_rows - 1) / whole_rows * whole_rows;
  std::fill(room + w.rows * stride, room + filled * stride, uint16_t{0});
  return {room, stride, blocks};
}

// All of them, into the second-level cache.
void ask_for_rows(const WeightView& w) {
  for (int64_t r = 0; r < w.rows; ++r) {
    const auto* row = static_cast<const char*>(w.row(r));
    for (int64_t i = 0; i < w.cols * 2; i += 64) __builtin_prefetch(row + i, 0, 2);
  }
}

template <class Products>
void product(int64_t m, const BF16Panel* x, const WeightView& w, float* c, int64_t ldc) {
  static thread_local Scratch scratch;
  constexpr int64_t kLd = 4 * kPanelRows;
  const int64_t blocks = (w.cols + 31) / 32;
  float* memory = scratch.get(kRows * kLd + 32 * blocks + kRows * 16 * blocks);
  float* ct = memory;
  float* row = memory + kRows * kLd;
  auto* room = reinterpret_cast<uint16_t*>(row + 32 * blocks);
  const TileSession session;
  for (int64_t n = 0; n < w.rows; n += kRows) {
    const WeightView some = w.slice_rows(n, std::min(w.rows, n + kRows));
    BF16Rows rows = bf16_rows(some, Products::kWholeRows, room, row);
    if (Products::kAsksForRows && rows.data != room) {
      if (n == 0) ask_for_rows(some);
      if (n + 2 * kRows <= w.rows) rows.next = static_cast<const uint16_t*>(w.row(n + kRows));
    }
    for (int64_t i = 0; i < m; i += kPanelRows * Products::kPanels) {
      const int64_t end = std::min(m, i + kPanelRows * Products::kPanels);
      const int64_t panels = (end - i + kPanelRows - 1) / kPanelRows;
      Products::run(panels, x + i / kPanelRows * blocks, rows, some.rows, ct, kLd);
      rows.next = nullptr;
      transpose(ct, kLd, end - i, some.rows, c + i * ldc + n, ldc);
    }
  }
}

}  // namespace

#if defined(__x86_64__)

void bf16_panel_product(int64_t m, const BF16Panel* x, const WeightView& w, float* c, int64_t ldc) {
  product<DotProducts>(m, x, w, c, ldc);
}

#else

void bf16_panel_product(int64_t, const BF16Panel*, const WeightView&, float*, int64_t) {
  fail("products of bfloat16 panels need AVX-512 BF16");
}

#endif

void amx_panel_product(int64_t m, const BF16Panel* x, const WeightView& w, float* c, int64_t ldc) {
  product<TileProducts>(m, x, w, c, ldc);
}

}  // namespace dsv3::kernels
