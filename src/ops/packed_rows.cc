#include "ops/packed_rows.h"

namespace dsv3::ops {

kernels::RowForm row_form(Activations activations, const LinearWeight& w, int64_t m) {
  return activations == Activations::kFast ? kernels::row_form(w.view(), m)
                                           : kernels::RowForm::kFloat32;
}

PackedRows::PackedRows(Matrix x, int64_t m, const int32_t* rows)
    : m_(m), cols_(x.cols), plain_{x.data, x.stride, rows} {}

PackedRows::PackedRows(kernels::RowForm form, int64_t m, int64_t cols, void* memory)
    : form_(form), m_(m), cols_(cols), memory_(memory) {}

PackedRows PackedRows::choose(int64_t m, const int32_t* rows) const {
  PackedRows chosen = *this;
  chosen.m_ = m;
  chosen.rows_ = rows;
  return chosen;
}

void PackedRows::multiply(const kernels::WeightView& w, float* c, int64_t ldc) const {
  if (form_ == kernels::RowForm::kFloat32) return kernels::gemm_nt(m_, plain_, w, c, ldc);
  kernels::gemm_nt_packed(form_, m_, memory_, rows_, w, c, ldc);
}

}  // namespace dsv3::ops
