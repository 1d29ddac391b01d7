#pragma once

#include <span>

#include "dsv3/tensor.h"

namespace dsv3::formats {

/// A block format of GGUF: what its values mean and how values are put into it. Each is defined in
/// the file of its name (q4_k.h ...), which has the layout of a block. Rows are encoded one by one,
/// so that each may be done by another thread. Source: ggml's reference implementation.
struct BlockFormat {
  DType dtype = DType::kF32;
  int64_t elements = 0;  ///< in a block
  size_t bytes = 0;      ///< of a block
  /// n elements, a whole number of blocks at any address. Gives the same bits as ggml's
  /// dequantize_row_*.
  void (*decode)(const void* blocks, int64_t n, float* out) = nullptr;
  /// Rounds n elements to blocks; the same bytes on every processor. `importance`, null or n
  /// non-negative numbers, says how much the square of each element's error weighs: the mean square
  /// of the input channel that it is multiplied with. Throws Error if a value is not finite or
  /// beyond kLargestEncodable: the float16 scales would become infinite.
  void (*encode)(const float* x, int64_t n, const float* importance, void* blocks) = nullptr;
};

/// The largest float16. Some formats could hold more, but no weight is so large.
inline constexpr float kLargestEncodable = 65504.0f;

/// Throws Error if the type is not a block format.
const BlockFormat& block_format(DType dtype);
/// All of them.
std::span<const BlockFormat> block_formats();

}  // namespace dsv3::formats
