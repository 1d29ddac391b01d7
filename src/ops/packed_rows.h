#pragma once

#include <cstddef>

#include "kernels/gemm/gemm.h"
#include "kernels/packed/packed_rows.h"
#include "ops/linear.h"
#include "tensor/matrix.h"

namespace dsv3::ops {

/// The form in which m rows of activations meet weights.
kernels::RowForm row_form(Activations activations, const LinearWeight& w, int64_t m);

/// Rows of activations as products with weights take them. A view: the memory is the caller's.
class PackedRows {
 public:
  PackedRows() = default;
  /// Float32 rows as they are: those of x, or those that `rows` chooses (m of them). `form`: one
  /// that is not packed.
  PackedRows(kernels::RowForm form, Matrix x, int64_t m, const int32_t* rows);
  /// Rows in a packed form. `memory`: kernels::packed_bytes(form, m, cols) bytes at a
  /// multiple of 64, to be filled by `store` after `clear_padding`.
  PackedRows(kernels::RowForm form, int64_t m, int64_t cols, void* memory);

  int64_t size() const { return m_; }
  kernels::RowForm form() const { return form_; }
  bool same_memory(const PackedRows& other) const { return memory_ == other.memory_; }

  void clear_padding() const { kernels::clear_padding(form_, m_, cols_, memory_); }
  /// Channels [channel, channel + n) of a row; `channel` a multiple of 32, and n too if they do not
  /// end the row.
  void store(int64_t row, int64_t channel, int64_t n, const float* x) const {
    kernels::pack_channels(form_, cols_, row, channel, n, x, memory_);
  }
  /// A row of `from`, which is of kInt8Rows, to a row of this, of kInt8Panels.
  void copy_row(int64_t row, const PackedRows& from, int64_t from_row) const {
    kernels::copy_to_panels(cols_,
                            static_cast<const kernels::Int8Chunk*>(from.memory_) +
                                from_row * kernels::int8_chunks(cols_),
                            row, memory_);
  }
  /// Rows [begin, end), for products only. Of panels, `begin` is a multiple of kernels::kPanelRows.
  PackedRows row_range(int64_t begin, int64_t end) const;
  /// The same memory in another order: row i is rows[i]. For row-major forms.
  PackedRows choose(int64_t m, const int32_t* rows) const;

  /// Rows [begin, end) of a form that is not row-major; `begin` a multiple of kernels::kPanelRows.
  /// Only for products.
  PackedRows panels(int64_t begin, int64_t end) const;

  /// C[i, n] = sum_k A[i, k] * W[n, k]. By the calling thread alone.
  void multiply(const kernels::WeightView& w, float* c, int64_t ldc) const;

 private:
  kernels::RowForm form_ = kernels::RowForm::kFloat32;
  int64_t m_ = 0, cols_ = 0;
  kernels::ActivationRows plain_;
  const int32_t* rows_ = nullptr;
  void* memory_ = nullptr;
};

}  // namespace dsv3::ops
