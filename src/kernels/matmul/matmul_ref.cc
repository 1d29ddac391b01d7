#include "formats/float_formats.h"
#include "kernels/matmul/matmul.h"

namespace dsv3::kernels {
namespace {

float round_to_bf16(float x) { return formats::bf16_to_float(formats::float_to_bf16(x)); }

// Element (row, col) of the matrix that an operand is, before transposition.
float element(const MatmulOperand& x, int64_t row, int64_t col) {
  const int64_t at = (x.rows != nullptr ? x.rows[row] : row) * x.stride + col;
  const float value = x.bf16 ? formats::bf16_to_float(static_cast<const uint16_t*>(x.data)[at])
                             : static_cast<const float*>(x.data)[at];
  return x.row_scale != nullptr ? value * x.row_scale[row] : value;
}

float factor(MatmulPrecision precision, const MatmulOperand& x, int64_t row, int64_t col) {
  const float value = x.transposed ? element(x, col, row) : element(x, row, col);
  return precision == MatmulPrecision::kBFloat16 ? round_to_bf16(value) : value;
}

}  // namespace

void matmul_ref(MatmulPrecision precision, int64_t m, int64_t n, int64_t k, const MatmulOperand& a,
                const MatmulOperand& b, bool accumulate, float* c, int64_t ldc) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = accumulate ? c[i * ldc + j] : 0.0;
      for (int64_t l = 0; l < k; ++l) {
        sum += double{factor(precision, a, i, l)} * factor(precision, b, l, j);
      }
      c[i * ldc + j] = static_cast<float>(sum);
    }
  }
}

}  // namespace dsv3::kernels
