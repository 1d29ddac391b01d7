#include "formats/q2_k.h"

#include "formats/scale_search.h"

namespace dsv3::formats {

void decode_q2_k(const void* blocks, int64_t n, float* out) {
  const auto* block = static_cast<const BlockQ2_K*>(blocks);
  for (int64_t b = 0; b < n / 256; ++b, ++block) {
    const float d = block->d.value();
    const float dmin = block->dmin.value();
    for (int g = 0; g < 16; ++g, out += 16) {
      const float scale = d * static_cast<float>(block->scales[g] & 0xF);
      const float minimum = dmin * static_cast<float>(block->scales[g] >> 4);
      const uint8_t* q = block->q.data() + g / 8 * 32 + g % 2 * 16;
      const int shift = g % 8 / 2 * 2;
      for (int i = 0; i < 16; ++i) {
        out[i] = scale * static_cast<float>(q[i] >> shift & 3) - minimum;
      }
    }
  }
}

void encode_q2_k(const float* x, int64_t n, const float* importance, void* blocks) {
  auto* block = static_cast<BlockQ2_K*>(blocks);
  for (int64_t i = 0; i < n; i += 256, ++block) {
    ScaledCodesWithMinima found;
    search_scales_and_minima(x + i, importance == nullptr ? nullptr : importance + i, 16, 3, 15,
                             &found);
    block->d = found.d;
    block->dmin = found.dmin;
    for (int g = 0; g < 16; ++g) {
      block->scales[g] = static_cast<uint8_t>(found.scale[g] | found.minimum[g] << 4);
    }
    for (int h = 0; h < 2; ++h) {
      const uint8_t* code = found.code + 128 * h;
      for (int k = 0; k < 32; ++k) {
        block->q[32 * h + k] = static_cast<uint8_t>(code[k] | code[k + 32] << 2 |
                                                    code[k + 64] << 4 | code[k + 96] << 6);
      }
    }
  }
}

}  // namespace dsv3::formats
