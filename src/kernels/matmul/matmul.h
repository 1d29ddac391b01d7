#pragma once

#include <cstdint>

namespace dsv3::kernels {

/// A matrix in memory as one side of a product: float32 or bfloat16 rows `stride` elements apart.
struct MatmulOperand {
  const void* data = nullptr;
  bool bf16 = false;  ///< elements are bfloat16, not float32
  int64_t stride = 0;
  bool transposed = false;           ///< the product takes the matrix's columns for rows
  const int32_t* rows = nullptr;     ///< row i of the matrix is rows[i] in memory; null: row i
  const float* row_scale = nullptr;  ///< what row i (before `rows`) is multiplied by; null: 1
};

/// In what numbers is multiplied. Sums are float32 in both.
enum class MatmulPrecision : uint8_t {
  kFloat32,
  kBFloat16,  ///< both sides rounded to bfloat16 where the processor multiplies that, otherwise
              ///< float32 products of the rounded numbers
};

/// C[i, j] = sum_k A(i, k) B(k, j), i < m, j < n, or added to C; rows of C are `ldc` floats apart.
/// A is [m, k] and B [k, n] after transposition. Single-threaded; the order of the sums depends on
/// nothing but the sizes. Numbers too small for a normal float may count as zero in kBFloat16. Fast
/// from a dozen rows of A on; fewer cost little less, as B is packed for them too. All three
/// products of training are this: y = x W^T, dx = dy W and dW += dy^T x.
void matmul(MatmulPrecision precision, int64_t m, int64_t n, int64_t k, const MatmulOperand& a,
            const MatmulOperand& b, bool accumulate, float* c, int64_t ldc);

/// The definition: plain loops with sums in double.
void matmul_ref(MatmulPrecision precision, int64_t m, int64_t n, int64_t k, const MatmulOperand& a,
                const MatmulOperand& b, bool accumulate, float* c, int64_t ldc);

}  // namespace dsv3::kernels
