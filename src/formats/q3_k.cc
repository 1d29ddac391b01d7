#include "formats/q3_k.h"

#include "formats/scale_search.h"

namespace dsv3::formats {

void decode_q3_k(const void* blocks, int64_t n, float* out) {
  const auto* block = static_cast<const BlockQ3_K*>(blocks);
  for (int64_t b = 0; b < n / 256; ++b, ++block) {
    const float d = block->d.value();
    for (int g = 0; g < 16; ++g, out += 16) {
      const float scale = d * static_cast<float>(block->scale(g));
      const uint8_t* q = block->q.data() + g / 8 * 32 + g % 2 * 16;
      const uint8_t* q2 = block->q2.data() + g % 2 * 16;
      const int shift = g % 8 / 2 * 2;
      for (int i = 0; i < 16; ++i) {
        const int code = (q[i] >> shift & 3) | (q2[i] >> g / 2 & 1) << 2;
        out[i] = scale * static_cast<float>(code - 4);
      }
    }
  }
}

void encode_q3_k(const float* x, int64_t n, const float* importance, void* blocks) {
  auto* block = static_cast<BlockQ3_K*>(blocks);
  for (int64_t i = 0; i < n; i += 256, ++block) {
    ScaledCodes found;
    search_scales(x + i, importance == nullptr ? nullptr : importance + i, 16,
                  {CodeValues::kIntegers, -4, 3}, 32, &found);
    *block = {{}, {}, {}, found.d};
    for (int g = 0; g < 16; ++g) {
      const int scale = found.scale[g] + 32;
      block->scales[g % 8] |= static_cast<uint8_t>((scale & 0xF) << 4 * (g / 8));
      block->scales[8 + g % 4] |= static_cast<uint8_t>(scale >> 4 << 2 * (g / 4));
    }
    for (int h = 0; h < 2; ++h) {
      const uint8_t* code = found.code + 128 * h;
      for (int k = 0; k < 32; ++k) {
        for (int j = 0; j < 4; ++j) {
          block->q[32 * h + k] |= static_cast<uint8_t>((code[k + 32 * j] & 3) << 2 * j);
          block->q2[k] |= static_cast<uint8_t>(code[k + 32 * j] >> 2 << (4 * h + j));
        }
      }
    }
  }
}

}  // namespace dsv3::formats
