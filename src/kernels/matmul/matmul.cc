#include "kernels/matmul/matmul.h"

namespace dsv3::kernels {

void matmul(MatmulPrecision precision, int64_t m, int64_t n, int64_t k, const MatmulOperand& a,
            const MatmulOperand& b, bool accumulate, float* c, int64_t ldc) {
  matmul_ref(precision, m, n, k, a, b, accumulate, c, ldc);
}

}  // namespace dsv3::kernels
