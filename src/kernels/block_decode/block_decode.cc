#include "kernels/block_decode/block_decode.h"

#include "base/error.h"
#include "formats/block_format.h"
#include "kernels/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/block_decode/block_decode.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "kernels/block_decode/block_decode-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::kernels {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

void decode_blocks_impl(DType format, const void* blocks, int64_t n, float* out) {
  formats::block_format(format).decode(blocks, n, out);
}

#else

template <class Block>
void decode_all(const void* blocks, int64_t n, float* out) {
  const auto* block = static_cast<const Block*>(blocks);
  constexpr int kElements = block_elements(static_cast<const Block*>(nullptr));
  for (int64_t i = 0; i < n; i += kElements, ++block) decode_block(*block, out + i);
}

void decode_blocks_impl(DType format, const void* blocks, int64_t n, float* out) {
  switch (format) {
    case DType::kQ4_0:
      return decode_all<formats::BlockQ4_0>(blocks, n, out);
    case DType::kQ4_1:
      return decode_all<formats::BlockQ4_1>(blocks, n, out);
    case DType::kQ5_0:
      return decode_all<formats::BlockQ5_0>(blocks, n, out);
    case DType::kQ5_1:
      return decode_all<formats::BlockQ5_1>(blocks, n, out);
    case DType::kQ8_0:
      return decode_all<formats::BlockQ8_0>(blocks, n, out);
    case DType::kQ2_K:
      return decode_all<formats::BlockQ2_K>(blocks, n, out);
    case DType::kQ3_K:
      return decode_all<formats::BlockQ3_K>(blocks, n, out);
    case DType::kQ4_K:
      return decode_all<formats::BlockQ4_K>(blocks, n, out);
    case DType::kQ5_K:
      return decode_all<formats::BlockQ5_K>(blocks, n, out);
    case DType::kQ6_K:
      return decode_all<formats::BlockQ6_K>(blocks, n, out);
    case DType::kIQ4_NL:
      return decode_all<formats::BlockIQ4_NL>(blocks, n, out);
    case DType::kIQ4_XS:
      return decode_all<formats::BlockIQ4_XS>(blocks, n, out);
    default:
      fail("{} is not a block format", dtype_name(format));
  }
}

#endif  // HWY_SCALAR

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dsv3::kernels {

HWY_EXPORT(decode_blocks_impl);

void decode_blocks(DType format, const void* blocks, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(decode_blocks_impl)(format, blocks, n, out);
}

}  // namespace dsv3::kernels
#endif  // HWY_ONCE
