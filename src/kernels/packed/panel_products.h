#pragma once

#include "kernels/packed/packed_rows.h"

namespace dsv3::kernels {

/// gemm_nt_packed for the forms of panels. C^T = W X^T in tiles whose vectors are 16 rows of X: a
/// weight is broadcast to them, so that no sum needs to be taken over the lanes of a vector.
void int8_panel_product(int64_t m, const Int8Panel* x, const WeightView& w, float* c, int64_t ldc);
void bf16_panel_product(int64_t m, const BF16Panel* x, const WeightView& w, float* c, int64_t ldc);
void f32_panel_product(int64_t m, const F32Panel* x, const WeightView& w, float* c, int64_t ldc);
/// With AMX tiles.
void amx_panel_product(int64_t m, const BF16Panel* x, const WeightView& w, float* c, int64_t ldc);

/// gemm_nt_packed for kBF16Rows, W in BF16 or F8_E4M3 (scale blocks of a multiple of 64 columns).
/// Rows of X are `stride` elements apart, zeros up to a multiple of 64 channels. Needs AVX-512 BF16
/// and VBMI.
void bf16_rows_product(int64_t m, const uint16_t* x, int64_t stride, const int32_t* rows,
                       const WeightView& w, float* c, int64_t ldc);
/// C[i, n] = C^T[n, i] for i < m, n < n_rows; C^T's rows are `ld` floats apart.
inline void transpose(const float* ct, int64_t ld, int64_t m, int64_t n_rows, float* c,
                      int64_t ldc) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t n = 0; n < n_rows; ++n) c[i * ldc + n] = ct[n * ld + i];
  }
}
/// Rows of a block format rounded to bfloat16, `stride` elements apart. Needs AVX-512 VNNI and
/// BF16; false, and nothing done, where VNNI is missing.
bool unpack_bf16(const WeightView& w, int64_t stride, uint16_t* out);
/// Nearest bfloat16, ties to even.
void round_to_bf16(const float* x, int64_t n, uint16_t* out);

}  // namespace dsv3::kernels
