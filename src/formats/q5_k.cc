#include "formats/q5_k.h"

#include "formats/scale_search.h"

namespace dsv3::formats {

void decode_q5_k(const void* blocks, int64_t n, float* out) {
  const auto* block = static_cast<const BlockQ5_K*>(blocks);
  for (int64_t b = 0; b < n / 256; ++b, ++block) {
    const float d = block->d.value();
    const float dmin = block->dmin.value();
    for (int g = 0; g < 8; ++g, out += 32) {
      const float scale = d * static_cast<float>(block->scales.scale(g));
      const float minimum = dmin * static_cast<float>(block->scales.minimum(g));
      const uint8_t* q = block->q.data() + g / 2 * 32;
      const int shift = g % 2 * 4;
      for (int i = 0; i < 32; ++i) {
        const int code = (q[i] >> shift & 0xF) | (block->q4[i] >> g & 1) << 4;
        out[i] = scale * static_cast<float>(code) - minimum;
      }
    }
  }
}

void encode_q5_k(const float* x, int64_t n, const float* importance, void* blocks) {
  auto* block = static_cast<BlockQ5_K*>(blocks);
  for (int64_t i = 0; i < n; i += 256, ++block) {
    ScaledCodesWithMinima found;
    search_scales_and_minima(x + i, importance == nullptr ? nullptr : importance + i, 8, 31, 63,
                             &found);
    block->d = found.d;
    block->dmin = found.dmin;
    block->scales = KScales::pack(found.scale, found.minimum);
    for (int c = 0; c < 4; ++c) {
      const uint8_t* code = found.code + 64 * c;
      for (int k = 0; k < 32; ++k) {
        block->q[32 * c + k] = static_cast<uint8_t>((code[k] & 0xF) | (code[k + 32] & 0xF) << 4);
      }
    }
    for (int k = 0; k < 32; ++k) {
      uint8_t bits = 0;
      for (int g = 0; g < 8; ++g) bits |= static_cast<uint8_t>(found.code[32 * g + k] >> 4 << g);
      block->q4[k] = bits;
    }
  }
}

}  // namespace dsv3::formats
