#include "kernels/attention/latent_page.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "formats/float_formats.h"
#include "kernels/gemm/gemm.h"

namespace dsv3::kernels {
namespace {

// The smallest bf16 number that is not below x >= 0.
uint16_t bf16_at_least(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((bits + 0xffff) >> 16);
}

void store_codes(const LatentLayout& layout, void* page, int64_t slot, const float* row) {
  auto* codes = const_cast<uint8_t*>(layout.codes(page)) + slot * layout.code_stride();
  auto* rope = const_cast<uint16_t*>(layout.rope_rows(page)) + slot * layout.rope_stride();
  auto* scales = const_cast<uint16_t*>(layout.scales(page)) + slot * layout.groups();
  std::fill(codes + (layout.rank & ~int64_t{63}), codes + layout.code_stride(), uint8_t{128});
  for (int64_t g = 0; g < layout.groups(); ++g) {
    const int64_t begin = g * LatentLayout::kGroup;
    const int64_t end = std::min(layout.rank, begin + LatentLayout::kGroup);
    float largest = 0;
    bool finite = true;
    for (int64_t i = begin; i < end; ++i) {
      largest = std::max(largest, std::fabs(row[i]));
      finite = finite && std::isfinite(row[i]);
    }
    // A number that is none is kept visible: its group's scale is NaN.
    scales[g] = finite ? bf16_at_least(largest / 127) : uint16_t{0x7fc0};
    const float scale = formats::bf16_to_float(scales[g]);
    const float inverse = finite && scale > 0 ? 1 / scale : 0.0f;
    for (int64_t i = begin; i < end; ++i) {
      // Adding 1.5 * 2^23 rounds to an integer, to nearest even.
      const float code = (finite ? row[i] * inverse : 0.0f) + 12582912.0f - 12582912.0f;
      codes[LatentLayout::code_index(i)] =
          static_cast<uint8_t>(128 + static_cast<int>(std::clamp(code, -127.0f, 127.0f)));
    }
  }
  for (int64_t i = 0; i < layout.rope; ++i) rope[i] = formats::float_to_bf16(row[layout.rank + i]);
  std::fill(rope + layout.rope, rope + layout.rope_stride(), uint16_t{0});
}

}  // namespace

int64_t LatentLayout::page_bytes() const {
  if (dtype == DType::kI8) {
    const int64_t token = code_stride() + 2 * rope_stride() + 2 * groups();
    return (kPageTokens * token + 63) / 64 * 64;
  }
  return static_cast<int64_t>(dtype_bytes(dtype, kPageTokens * width()));
}

void store_latent(const LatentLayout& layout, void* page, int64_t slot, const float* row) {
  const int64_t width = layout.width();
  if (layout.dtype == DType::kF32) {
    std::memcpy(static_cast<float*>(page) + slot * width, row,
                static_cast<size_t>(width) * sizeof(float));
  } else if (layout.dtype == DType::kBF16) {
    uint16_t* out = static_cast<uint16_t*>(page) + slot * width;
    for (int64_t i = 0; i < width; ++i) out[i] = formats::float_to_bf16(row[i]);
  } else {
    store_codes(layout, page, slot, row);
  }
}

void decode_latents(const LatentLayout& layout, const void* page, int64_t n, float* out,
                    int64_t ld) {
  if (layout.dtype != DType::kI8) {
    decode({.format = layout.dtype,
            .data = page,
            .rows = n,
            .cols = layout.width(),
            .row_stride = layout.width()},
           out, ld);
    return;
  }
  for (int64_t t = 0; t < n; ++t) {
    const uint8_t* codes = layout.codes(page) + t * layout.code_stride();
    float* row = out + t * ld;
    for (int64_t g = 0; g < layout.groups(); ++g) {
      const float scale = formats::bf16_to_float(layout.scales(page)[t * layout.groups() + g]);
      const int64_t end = std::min(layout.rank, (g + 1) * LatentLayout::kGroup);
      for (int64_t i = g * LatentLayout::kGroup; i < end; ++i)
        row[i] = static_cast<float>(codes[LatentLayout::code_index(i)] - 128) * scale;
    }
    const uint16_t* rope = layout.rope_rows(page) + t * layout.rope_stride();
    for (int64_t i = 0; i < layout.rope; ++i)
      row[layout.rank + i] = formats::bf16_to_float(rope[i]);
  }
}

}  // namespace dsv3::kernels
