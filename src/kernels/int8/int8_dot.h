#pragma once

#include "kernels/int8/int8_rows.h"
#include "kernels/weight_view.h"

namespace dsv3::kernels {

/// Rows of activations that share one reading of the weights.
inline constexpr int64_t kInt8DotRows = 8;

/// C[i, n] = sum_k A[i, k] * W[n, k] for i < m, n < w.rows, k < w.cols, W in a block format: the
/// codes of a group of 16 or 32 weights are multiplied with those of the activations as integers,
/// which is exact, and the sums scaled and added in float32. C's rows are `ldc` floats apart.
/// Single-threaded; reads each weight once for kInt8DotRows rows of A.
void gemm_nt_int8(int64_t m, const Int8Rows& a, const WeightView& w, float* c, int64_t ldc);

/// The definition: decoded weights times decoded activations, summed in double.
void gemm_nt_int8_ref(int64_t m, const Int8Rows& a, const WeightView& w, float* c, int64_t ldc);

}  // namespace dsv3::kernels
