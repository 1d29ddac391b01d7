#pragma once

#include "dsv3/tensor.h"

namespace dsv3::formats {

/// Converts a floating-point tensor (F64, F32, F16, BF16, F8_E4M3, F8_E8M0) to F32 or BF16. A
/// tensor that has the type already is returned as it is (shared memory). FP8 values are converted
/// without any scale. Throws Error for other types.
Tensor convert(const Tensor& tensor, DType to);
Tensor to_f32(const Tensor& tensor);

}  // namespace dsv3::formats
