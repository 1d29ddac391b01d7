#pragma once

#include "kernels/packed/packed_rows.h"

namespace dsv3::kernels {

/// gemm_nt_packed for the forms of panels. C^T = W X^T in tiles whose vectors are 16 rows of X: a
/// weight is broadcast to them, so that no sum needs to be taken over the lanes of a vector.
void int8_panel_product(int64_t m, const Int8Panel* x, const WeightView& w, float* c, int64_t ldc);
void bf16_panel_product(int64_t m, const BF16Panel* x, const WeightView& w, float* c, int64_t ldc);
/// The same with AMX tiles.
void amx_panel_product(int64_t m, const BF16Panel* x, const WeightView& w, float* c, int64_t ldc);
/// The same with tiles in software, for tests where there is no AMX.
void amx_panel_product_emulated(int64_t m, const BF16Panel* x, const WeightView& w, float* c,
                                int64_t ldc);

/// Nearest bfloat16, ties to even.
void round_to_bf16(const float* x, int64_t n, uint16_t* out);

}  // namespace dsv3::kernels
