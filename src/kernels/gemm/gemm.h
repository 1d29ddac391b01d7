#pragma once

#include <cstdint>

#include "kernels/weight_view.h"

namespace dsv3::kernels {

// Matrix products of float32 activations with weights in any format. Single-threaded: callers split
// the work. All variants compute in float32, and the order in which an element of C is summed
// depends neither on the number of rows M nor on which rows of W are asked for together, so that a
// token's result is the same alone and in a batch.

/// Rows of activations: row i is at data + index(i) * stride, index(i) = rows[i], or i if rows is
/// null.
struct ActivationRows {
  const float* data = nullptr;
  int64_t stride = 0;
  const int32_t* rows = nullptr;
};

/// C[i, n] = sum_k A[i, k] * W[n, k] for i < m, n < w.rows, k < w.cols. C's rows are `ldc` floats
/// apart. The sum runs over k in as many interleaved partial sums as the vector has lanes.
void gemm_nt(int64_t m, const ActivationRows& a, const WeightView& w, float* c, int64_t ldc);
/// C[i, n] (+)= sum_k A[i, k] * W[k, n] for i < m, k < w.rows, n < w.cols, summed in the order of
/// k. `accumulate` starts from C instead of zero.
void gemm_nn(int64_t m, const ActivationRows& a, const WeightView& w, float* c, int64_t ldc,
             bool accumulate);
/// Decodes a view to float32, [rows, cols] with rows `ld` floats apart.
void decode(const WeightView& w, float* out, int64_t ld);

/// The definition of the above: plain loops, sums in double.
void gemm_nt_ref(int64_t m, const ActivationRows& a, const WeightView& w, float* c, int64_t ldc);
void gemm_nn_ref(int64_t m, const ActivationRows& a, const WeightView& w, float* c, int64_t ldc,
                 bool accumulate);
void decode_ref(const WeightView& w, float* out, int64_t ld);

}  // namespace dsv3::kernels
