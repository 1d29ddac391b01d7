// Products of bfloat16 panels, by AVX-512 BF16 and by AMX.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "formats/float_formats.h"
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
  int64_t blocks;  // of 32 columns
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
  static void run(int64_t panels, const BF16Panel* x, const BF16Rows& w, int64_t rows, float* ct,
                  int64_t ld) {
    if (panels == 3) return dot_strip<3>(x, w.blocks, w, rows, ct, ld);
    if (panels == 2) return dot_strip<2>(x, w.blocks, w, rows, ct, ld);
    return dot_strip<1>(x, w.blocks, w, rows, ct, ld);
  }
};

HWY_POP_ATTRIBUTES
HWY_PUSH_ATTRIBUTES("amx-tile,amx-bf16")

// Eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);
constexpr TileConfig kTileConfig;

// Tiles in the processor. 0 to 3 are sums [row of W][row of X], 4 and 5 rows of W, 6 and 7 panels.
class HardwareTiles {
 public:
  HardwareTiles() {
    // GCC's intrinsics do not tell the compiler what memory they read: the configuration is a
    // constant, and what was written for tiles to be loaded is fenced off in zero().
    _tile_loadconfig(&kTileConfig);
  }
  ~HardwareTiles() { _tile_release(); }
  void zero() {
    asm volatile("" ::: "memory");
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  void load_w0(const void* p, int64_t stride) { _tile_loadd(4, p, stride); }
  void load_w1(const void* p, int64_t stride) { _tile_loadd(5, p, stride); }
  void load_x0(const void* p) { _tile_loadd(6, p, 64); }
  void load_x1(const void* p) { _tile_loadd(7, p, 64); }
  void multiply_00() { _tile_dpbf16ps(0, 4, 6); }
  void multiply_01() { _tile_dpbf16ps(1, 4, 7); }
  void multiply_10() { _tile_dpbf16ps(2, 5, 6); }
  void multiply_11() { _tile_dpbf16ps(3, 5, 7); }
  void store_00(float* p, int64_t stride) { _tile_stored(0, p, stride); }
  void store_01(float* p, int64_t stride) { _tile_stored(1, p, stride); }
  void store_10(float* p, int64_t stride) { _tile_stored(2, p, stride); }
  void store_11(float* p, int64_t stride) { _tile_stored(3, p, stride); }
};

HWY_POP_ATTRIBUTES
#endif

// What HardwareTiles does, in software.
class EmulatedTiles {
 public:
  void zero() { std::memset(sums_, 0, sizeof(sums_)); }
  void load_w0(const void* p, int64_t stride) { load(p, stride, w_[0]); }
  void load_w1(const void* p, int64_t stride) { load(p, stride, w_[1]); }
  void load_x0(const void* p) { load(p, 64, x_[0]); }
  void load_x1(const void* p) { load(p, 64, x_[1]); }
  void multiply_00() { multiply(0, 0); }
  void multiply_01() { multiply(0, 1); }
  void multiply_10() { multiply(1, 0); }
  void multiply_11() { multiply(1, 1); }
  void store_00(float* p, int64_t stride) const { store(0, p, stride); }
  void store_01(float* p, int64_t stride) const { store(1, p, stride); }
  void store_10(float* p, int64_t stride) const { store(2, p, stride); }
  void store_11(float* p, int64_t stride) const { store(3, p, stride); }

 private:
  using Tile = uint16_t[16][32];
  static void load(const void* p, int64_t stride, Tile& tile) {
    for (int r = 0; r < 16; ++r) std::memcpy(tile[r], static_cast<const char*>(p) + r * stride, 64);
  }
  void multiply(int w, int x) {
    for (int n = 0; n < 16; ++n) {
      for (int i = 0; i < 16; ++i) {
        float& sum = sums_[2 * w + x][n][i];
        for (int q = 0; q < 32; ++q) {
          sum += formats::bf16_to_float(w_[w][n][q]) *
                 formats::bf16_to_float(x_[x][q / 2][2 * i + q % 2]);
        }
      }
    }
  }
  void store(int which, float* p, int64_t stride) const {
    for (int r = 0; r < 16; ++r)
      std::memcpy(reinterpret_cast<char*>(p) + r * stride, sums_[which][r], 64);
  }
  Tile w_[2], x_[2];
  float sums_[4][16][16];
};

#if defined(__x86_64__)
HWY_PUSH_ATTRIBUTES("amx-tile,amx-bf16")
#endif

// 16 W rows of W (W = 1 or 2) times the rows of X panels.
template <class Tiles, int W, int X>
void multiply_tiles(Tiles& tiles, const BF16Panel* x, const BF16Rows& w, int64_t row, float* ct,
                    int64_t ld) {
  const auto w_stride = static_cast<int64_t>(w.stride * sizeof(uint16_t));
  const auto c_stride = static_cast<int64_t>(ld * sizeof(float));
  const uint16_t* w0 = w.data + row * w.stride;
  const uint16_t* w1 = w0 + 16 * w.stride;
  tiles.zero();
  for (int64_t block = 0; block < w.blocks; ++block) {
    tiles.load_w0(w0 + 32 * block, w_stride);
    tiles.load_x0(x + block);
    tiles.multiply_00();
    if constexpr (X == 2) {
      tiles.load_x1(x + w.blocks + block);
      tiles.multiply_01();
    }
    if constexpr (W == 2) {
      tiles.load_w1(w1 + 32 * block, w_stride);
      tiles.multiply_10();
      if constexpr (X == 2) tiles.multiply_11();
    }
  }
  float* out = ct + row * ld;
  tiles.store_00(out, c_stride);
  if constexpr (X == 2) tiles.store_01(out + 16, c_stride);
  if constexpr (W == 2) {
    tiles.store_10(out + 16 * ld, c_stride);
    if constexpr (X == 2) tiles.store_11(out + 16 * ld + 16, c_stride);
  }
}

template <class Tiles>
struct TileProducts {
  static constexpr int64_t kWholeRows = 16;
  static constexpr int64_t kPanels = 4;
  static void run(int64_t panels, const BF16Panel* x, const BF16Rows& w, int64_t rows, float* ct,
                  int64_t ld) {
    Tiles tiles;
    for (int64_t p = 0; p < panels; p += 2) {
      const BF16Panel* from = x + p * w.blocks;
      float* to = ct + 16 * p;
      for (int64_t row = 0; row < rows; row += 32) {
        const bool two_rows = row + 16 < rows, two_panels = p + 1 < panels;
        if (two_rows && two_panels) {
          multiply_tiles<Tiles, 2, 2>(tiles, from, w, row, to, ld);
        } else if (two_rows) {
          multiply_tiles<Tiles, 2, 1>(tiles, from, w, row, to, ld);
        } else if (two_panels) {
          multiply_tiles<Tiles, 1, 2>(tiles, from, w, row, to, ld);
        } else {
          multiply_tiles<Tiles, 1, 1>(tiles, from, w, row, to, ld);
        }
      }
    }
  }
};

#if defined(__x86_64__)
HWY_POP_ATTRIBUTES
#endif

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

template <class Products>
void product(int64_t m, const BF16Panel* x, const WeightView& w, float* c, int64_t ldc) {
  static thread_local Scratch scratch;
  constexpr int64_t kLd = 4 * kPanelRows;
  const int64_t blocks = (w.cols + 31) / 32;
  float* memory = scratch.get(kRows * kLd + 32 * blocks + kRows * 16 * blocks);
  float* ct = memory;
  float* row = memory + kRows * kLd;
  auto* room = reinterpret_cast<uint16_t*>(row + 32 * blocks);
  for (int64_t n = 0; n < w.rows; n += kRows) {
    const WeightView some = w.slice_rows(n, std::min(w.rows, n + kRows));
    const BF16Rows rows = bf16_rows(some, Products::kWholeRows, room, row);
    for (int64_t i = 0; i < m; i += kPanelRows * Products::kPanels) {
      const int64_t end = std::min(m, i + kPanelRows * Products::kPanels);
      const int64_t panels = (end - i + kPanelRows - 1) / kPanelRows;
      Products::run(panels, x + i / kPanelRows * blocks, rows, some.rows, ct, kLd);
      transpose(ct, kLd, end - i, some.rows, c + i * ldc + n, ldc);
    }
  }
}

}  // namespace

#if defined(__x86_64__)

void bf16_panel_product(int64_t m, const BF16Panel* x, const WeightView& w, float* c, int64_t ldc) {
  product<DotProducts>(m, x, w, c, ldc);
}
void amx_panel_product(int64_t m, const BF16Panel* x, const WeightView& w, float* c, int64_t ldc) {
  product<TileProducts<HardwareTiles>>(m, x, w, c, ldc);
}

#else

void bf16_panel_product(int64_t, const BF16Panel*, const WeightView&, float*, int64_t) {
  fail("products of bfloat16 panels need AVX-512 BF16");
}
void amx_panel_product(int64_t, const BF16Panel*, const WeightView&, float*, int64_t) {
  fail("products of bfloat16 panels by tiles need AMX");
}

#endif

void amx_panel_product_emulated(int64_t m, const BF16Panel* x, const WeightView& w, float* c,
                                int64_t ldc) {
  product<TileProducts<EmulatedTiles>>(m, x, w, c, ldc);
}

}  // namespace dsv3::kernels
