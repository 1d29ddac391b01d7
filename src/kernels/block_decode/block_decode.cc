#include "kernels/block_decode/block_decode.h"

#include "formats/block_format.h"

namespace dsv3::kernels {

void decode_blocks(DType format, const void* blocks, int64_t n, float* out) {
  formats::block_format(format).decode(blocks, n, out);
}

}  // namespace dsv3::kernels
