#pragma once

#include "dsv3/tensor.h"

namespace dsv3::kernels {

/// Decodes n elements, a whole number of blocks, of a block format to float32: the same bits as
/// formats::block_format(format).decode, which defines it.
void decode_blocks(DType format, const void* blocks, int64_t n, float* out);

}  // namespace dsv3::kernels
