// Products of bfloat16 panels by AMX's tiles.
#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/amx_tiles.h"
#include "kernels/matmul/matmul_kernels.h"
#include "kernels/transpose16.h"

#if defined(__x86_64__)

namespace dsv3::kernels {
namespace {

// Steps of a tile, each of two k, and lanes.
constexpr int64_t kSteps = 16;
constexpr int64_t kLanes = 16;

int64_t whole_tiles(int64_t steps) { return (steps + kSteps - 1) / kSteps * kSteps; }

void pack_b(const PanelSource& x, int64_t lane, int lanes, int64_t k, int64_t count,
            int64_t step_words, float* out) {
  pack_bf16(x, lane, lanes, k, count, step_words, out);
  const int64_t steps = (count + 1) / 2;
  std::fill(out + steps * step_words, out + whole_tiles(steps) * step_words, 0.0f);
}

__attribute__((target("avx512f"))) void transpose_words(const float* in, float* out,
                                                        int64_t row_words) {
  __m512i r[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(in + i * kLanes);
  transpose16(r);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) _mm512_storeu_si512(out + i * row_words, r[i]);
}

// As steps of 16 lanes, which are then transposed.
void pack_a(const PanelSource& x, int64_t lane, int lanes, int64_t k, int64_t count,
            int64_t row_words, float* out) {
  alignas(64) float steps[kSteps * kLanes + kPackSlack];
  for (int64_t group = 0; group < lanes; group += kLanes) {
    const int here = static_cast<int>(std::min<int64_t>(kLanes, lanes - group));
    for (int64_t q = 0; q < count; q += 2 * kSteps) {
      pack_b(x, lane + group, here, k + q, std::min(2 * kSteps, count - q), kLanes, steps);
      transpose_words(steps, out + group * row_words + q / 2, row_words);
    }
  }
}

void multiply(int64_t rows, int64_t vectors, int64_t steps, const float* a, int64_t a_row_words,
              const float* b, int64_t b_step_words, bool add, float* c, int64_t ldc) {
  const int64_t a_row = 4 * a_row_words, b_step = 4 * b_step_words, c_row = 4 * ldc;
  with_tiles([&](auto& tiles) {
    tile_product<TileNumbers::kBFloat16>(
        tiles, (rows + kTileRows - 1) / kTileRows, vectors, steps / kSteps,
        {.data = a, .row_stride = a_row, .step = 64, .block_stride = kTileRows * a_row},
        {.data = b, .row_stride = b_step, .step = kSteps * b_step, .block_stride = 64}, add,
        {.data = c, .row_stride = c_row, .block_stride = kTileRows * c_row, .panel_stride = 64});
  });
}

template <int M, int N>
void tile(int64_t steps, const float* a, int64_t a_row_words, const float* b, int64_t b_step_words,
          bool add, float* c, int64_t ldc) {
  if constexpr (M % kTileRows == 0) {
    multiply(M, N, steps, a, a_row_words, b, b_step_words, add, c, ldc);
  } else {
    // Whole tiles to the side: C may end after M rows.
    constexpr int64_t kWidth = N * kLanes;
    alignas(64) float whole[kMaxTileRows * kWidth];
    multiply(M, N, steps, a, a_row_words, b, b_step_words, false, whole, kWidth);
    for (int64_t i = 0; i < M; ++i) {
      for (int64_t j = 0; j < kWidth; ++j)
        c[i * ldc + j] = (add ? c[i * ldc + j] : 0.0f) + whole[i * kWidth + j];
    }
  }
}

template <int... I>
constexpr MatmulKernels make_kernels(std::integer_sequence<int, I...>) {
  return {.step_k = 2,
          .lanes = kLanes,
          .tile_rows = kMaxTileRows,
          .block_steps = 256,
          .amx = true,
          .pack = pack_b,
          .pack_a = pack_a,
          .tiles = {{tile<I + 1, 1>...}, {tile<I + 1, 2>...}}};
}
constexpr MatmulKernels kKernels = make_kernels(std::make_integer_sequence<int, kMaxTileRows>());

}  // namespace

const MatmulKernels& amx_matmul_kernels() { return kKernels; }

}  // namespace dsv3::kernels

#endif
