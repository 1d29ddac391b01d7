#include "formats/block_format.h"

#include <cmath>

#include "base/error.h"
#include "formats/iq4_nl.h"
#include "formats/iq4_xs.h"
#include "formats/q2_k.h"
#include "formats/q3_k.h"
#include "formats/q4_0.h"
#include "formats/q4_1.h"
#include "formats/q4_k.h"
#include "formats/q5_0.h"
#include "formats/q5_1.h"
#include "formats/q5_k.h"
#include "formats/q6_k.h"
#include "formats/q8_0.h"

namespace dsv3::formats {
namespace {

void require_encodable(DType dtype, const float* x, int64_t n, const float* importance) {
  for (int64_t i = 0; i < n; ++i) {
    if (!(std::fabs(x[i]) <= kLargestEncodable)) {
      fail("{}: value {} at element {} of the row, expected finite numbers within +-{}",
           dtype_name(dtype), x[i], i, kLargestEncodable);
    }
  }
  if (importance == nullptr) return;
  for (int64_t i = 0; i < n; ++i) {
    if (!(importance[i] >= 0 && std::isfinite(importance[i]))) {
      fail("{}: importance {} of element {} of the row, expected a finite number, not negative",
           dtype_name(dtype), importance[i], i);
    }
  }
}

template <DType kType, void (*kEncode)(const float*, int64_t, const float*, void*)>
void encode(const float* x, int64_t n, const float* importance, void* blocks) {
  require_encodable(kType, x, n, importance);
  kEncode(x, n, importance, blocks);
}

template <DType kType, void (*kDecode)(const void*, int64_t, float*),
          void (*kEncode)(const float*, int64_t, const float*, void*)>
constexpr BlockFormat entry() {
  constexpr DTypeBlock block = dtype_block(kType);
  return {kType, block.elements, block.bytes, kDecode, encode<kType, kEncode>};
}

constexpr BlockFormat kFormats[] = {
    entry<DType::kQ4_0, decode_q4_0, encode_q4_0>(),
    entry<DType::kQ4_1, decode_q4_1, encode_q4_1>(),
    entry<DType::kQ5_0, decode_q5_0, encode_q5_0>(),
    entry<DType::kQ5_1, decode_q5_1, encode_q5_1>(),
    entry<DType::kQ8_0, decode_q8_0, encode_q8_0>(),
    entry<DType::kQ2_K, decode_q2_k, encode_q2_k>(),
    entry<DType::kQ3_K, decode_q3_k, encode_q3_k>(),
    entry<DType::kQ4_K, decode_q4_k, encode_q4_k>(),
    entry<DType::kQ5_K, decode_q5_k, encode_q5_k>(),
    entry<DType::kQ6_K, decode_q6_k, encode_q6_k>(),
    entry<DType::kIQ4_NL, decode_iq4_nl, encode_iq4_nl>(),
    entry<DType::kIQ4_XS, decode_iq4_xs, encode_iq4_xs>(),
};

}  // namespace

const BlockFormat& block_format(DType dtype) {
  for (const BlockFormat& format : kFormats) {
    if (format.dtype == dtype) return format;
  }
  fail("{} is not a block format", dtype_name(dtype));
}

std::span<const BlockFormat> block_formats() { return kFormats; }

}  // namespace dsv3::formats
