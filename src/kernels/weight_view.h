#pragma once

#include <algorithm>
#include <cstdint>

#include "dsv3/tensor.h"

namespace dsv3::kernels {

/// A matrix [rows, cols] of weights in memory, row-major, as the checkpoint stores it. Rows are
/// output channels. Aligned to its elements, no more. Views of a range of rows keep the scale
/// blocks of the whole matrix. Formats: F32, F16, BF16, F8_E4M3 times a float32 scale per block of
/// block_rows x block_cols, and the block formats (is_block_format), whose rows are whole blocks.
struct WeightView {
  DType format = DType::kF32;
  const void* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t row_stride = 0;  ///< elements from one row to the next
  // kF8E4M3 only (but block_cols of decoded blocks):
  const float* scale = nullptr;
  int64_t scale_stride = 0;  ///< scales in a row of blocks
  int64_t block_rows = 0;
  int64_t block_cols = 0;
  int64_t first_row = 0;  ///< row 0 of this view in the matrix that `scale` belongs to

  const void* row(int64_t r) const { return at(r * row_stride); }
  /// The block that element `index`, counted along the rows, begins.
  const void* at(int64_t index) const {
    return static_cast<const char*>(data) + dtype_bytes(format, index);
  }
  /// Rows [begin, end).
  WeightView slice_rows(int64_t begin, int64_t end) const {
    WeightView v = *this;
    v.data = row(begin);
    v.rows = end - begin;
    v.first_row += begin;
    return v;
  }
  /// `count` columns from `begin` on, which is the first of a block (for F8_E4M3: 0).
  WeightView slice_cols(int64_t begin, int64_t count) const {
    WeightView v = *this;
    v.data = at(begin);
    v.cols = count;
    return v;
  }
};

/// Asks for the first bytes of a matrix, at most as many, before they are read: where a stretch of
/// memory begins, the hardware does not know yet that it will be read on.
inline void ask_for(const WeightView& w, int64_t bytes) {
  const auto* from = static_cast<const char*>(w.data);
  const auto* end = std::min(from + bytes, static_cast<const char*>(w.row(w.rows)));
  for (; from < end; from += 64) __builtin_prefetch(from);
}

/// A float32 matrix as a weight.
inline WeightView f32_view(const float* data, int64_t rows, int64_t cols, int64_t row_stride) {
  return {
      .format = DType::kF32, .data = data, .rows = rows, .cols = cols, .row_stride = row_stride};
}

}  // namespace dsv3::kernels
