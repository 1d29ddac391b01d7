#pragma once

#include <cstdint>

namespace dsv3::kernels {

/// How the elements of a weight matrix are stored.
enum class WeightFormat : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF8E4M3,  ///< e4m3 times one float32 scale per block of block_rows x block_cols
};

/// A matrix [rows, cols] of weights in memory, row-major, as the checkpoint stores it. Rows are
/// output channels. Aligned to its elements, no more. Views of a range of rows keep the scale
/// blocks of the whole matrix.
struct WeightView {
  WeightFormat format = WeightFormat::kF32;
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

  int64_t element_size() const {
    return format == WeightFormat::kF32 ? 4 : format == WeightFormat::kF8E4M3 ? 1 : 2;
  }
  const void* row(int64_t r) const {
    return static_cast<const char*>(data) + r * row_stride * element_size();
  }
  /// Rows [begin, end).
  WeightView slice_rows(int64_t begin, int64_t end) const {
    WeightView v = *this;
    v.data = row(begin);
    v.rows = end - begin;
    v.first_row += begin;
    return v;
  }
  /// The first `count` columns (of a format without blocks, from column `begin` on).
  WeightView slice_cols(int64_t begin, int64_t count) const {
    WeightView v = *this;
    v.data = static_cast<const char*>(data) + begin * element_size();
    v.cols = count;
    return v;
  }
};

/// A float32 matrix as a weight.
inline WeightView f32_view(const float* data, int64_t rows, int64_t cols, int64_t row_stride) {
  return {.format = WeightFormat::kF32,
          .data = data,
          .rows = rows,
          .cols = cols,
          .row_stride = row_stride};
}

}  // namespace dsv3::kernels
