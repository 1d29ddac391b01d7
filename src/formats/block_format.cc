#include "formats/block_format.h"

#include "base/error.h"

namespace dsv3::formats {

const BlockFormat& block_format(DType dtype) {
  fail("{} is not a block format", dtype_name(dtype));
}

}  // namespace dsv3::formats
