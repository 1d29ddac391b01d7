#include "formats/q6_k.h"

#include <algorithm>

#include "formats/scale_search.h"

namespace dsv3::formats {

void decode_q6_k(const void* blocks, int64_t n, float* out) {
  const auto* block = static_cast<const BlockQ6_K*>(blocks);
  for (int64_t b = 0; b < n / 256; ++b, ++block) {
    const float d = block->d.value();
    for (int g = 0; g < 16; ++g, out += 16) {
      const float scale = d * static_cast<float>(block->scales[g]);
      const uint8_t* q = block->q.data() + g / 8 * 64 + g % 4 * 16;
      const uint8_t* q4 = block->q4.data() + g / 8 * 32 + g % 2 * 16;
      const int shift = g % 8 / 4 * 4;
      const int shift4 = g % 8 / 2 * 2;
      for (int i = 0; i < 16; ++i) {
        const int code = (q[i] >> shift & 0xF) | (q4[i] >> shift4 & 3) << 4;
        out[i] = scale * static_cast<float>(code - 32);
      }
    }
  }
}

void encode_q6_k(const float* x, int64_t n, const float* importance, void* blocks) {
  auto* block = static_cast<BlockQ6_K*>(blocks);
  for (int64_t i = 0; i < n; i += 256, ++block) {
    ScaledCodes found;
    search_scales(x + i, importance == nullptr ? nullptr : importance + i, 16,
                  {CodeValues::kIntegers, -32, 31}, 128, &found);
    block->d = found.d;
    std::copy(found.scale, found.scale + 16, block->scales.begin());
    for (int h = 0; h < 2; ++h) {
      const uint8_t* code = found.code + 128 * h;
      for (int k = 0; k < 64; ++k) {
        block->q[64 * h + k] = static_cast<uint8_t>((code[k] & 0xF) | (code[k + 64] & 0xF) << 4);
      }
      for (int k = 0; k < 32; ++k) {
        block->q4[32 * h + k] =
            static_cast<uint8_t>(code[k] >> 4 | code[k + 32] >> 4 << 2 | code[k + 64] >> 4 << 4 |
                                 code[k + 96] >> 4 << 6);
      }
    }
  }
}

}  // namespace dsv3::formats
