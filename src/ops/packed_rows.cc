#include "ops/packed_rows.h"

#include "kernels/variants.h"

namespace dsv3::ops {

kernels::RowForm row_form(Activations activations, const LinearWeight& w, int64_t m) {
  return activations == Activations::kFast ? kernels::row_form(w.view(), m)
                                           : kernels::RowForm::kFloat32;
}

PackedRows::PackedRows(kernels::RowForm form, Matrix x, int64_t m, const int32_t* rows)
    : form_(form), m_(m), cols_(x.cols), plain_{x.data, x.stride, rows} {}

PackedRows::PackedRows(kernels::RowForm form, int64_t m, int64_t cols, void* memory)
    : form_(form), m_(m), cols_(cols), memory_(memory) {}

PackedRows PackedRows::choose(int64_t m, const int32_t* rows) const {
  PackedRows chosen = *this;
  chosen.m_ = m;
  chosen.rows_ = rows;
  return chosen;
}

PackedRows PackedRows::row_range(int64_t begin, int64_t end) const {
  PackedRows part = *this;
  part.m_ = end - begin;
  if (rows_ != nullptr) {
    part.rows_ = rows_ + begin;
  } else if (kernels::is_packed(form_)) {
    part.memory_ = static_cast<char*>(memory_) + kernels::packed_bytes(form_, begin, cols_);
  } else if (plain_.rows != nullptr) {
    part.plain_.rows = plain_.rows + begin;
  } else {
    part.plain_.data = plain_.data + begin * plain_.stride;
  }
  return part;
}

void PackedRows::multiply(const kernels::WeightView& w, float* c, int64_t ldc) const {
  if (form_ == kernels::RowForm::kMatmul) {
    const bool bf16 = w.format == DType::kBF16 && kernels::current_features().fast_bf16;
    return kernels::matmul(
        bf16 ? kernels::MatmulPrecision::kBFloat16 : kernels::MatmulPrecision::kFloat32, m_, w.rows,
        w.cols, {.data = plain_.data, .stride = plain_.stride, .rows = plain_.rows},
        {.data = w.data,
         .bf16 = w.format == DType::kBF16,
         .stride = w.row_stride,
         .transposed = true},
        false, c, ldc);
  }
  if (form_ == kernels::RowForm::kFloat32) return kernels::gemm_nt(m_, plain_, w, c, ldc);
  kernels::gemm_nt_packed(form_, m_, memory_, rows_, w, c, ldc);
}

}  // namespace dsv3::ops
