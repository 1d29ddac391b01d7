#include "formats/iq4_xs.h"

#include "formats/iq4_nl.h"
#include "formats/nibbles.h"
#include "formats/scale_search.h"

namespace dsv3::formats {

void decode_iq4_xs(const void* blocks, int64_t n, float* out) {
  const auto* block = static_cast<const BlockIQ4_XS*>(blocks);
  for (int64_t b = 0; b < n / 256; ++b) {
    const float d = block[b].d.value();
    for (int g = 0; g < 8; ++g, out += 32) {
      const float scale = d * static_cast<float>(block[b].scale(g));
      uint8_t codes[32];
      unpack_nibbles(block[b].q.data() + 16 * g, codes);
      for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(kIq4Values[codes[i]]);
    }
  }
}

void encode_iq4_xs(const float* x, int64_t n, const float* importance, void* blocks) {
  auto* block = static_cast<BlockIQ4_XS*>(blocks);
  for (int64_t i = 0; i < n; i += 256, ++block) {
    ScaledCodes found;
    search_scales(x + i, importance == nullptr ? nullptr : importance + i, 8, {CodeValues::kIq4},
                  32, &found);
    *block = {found.d, {}, {}, {}};
    for (int g = 0; g < 8; ++g) {
      const int scale = found.scale[g] + 32;
      block->scales_l[g / 2] |= static_cast<uint8_t>((scale & 0xF) << 4 * (g % 2));
      block->scales_h[g / 4] |= static_cast<uint8_t>(scale >> 4 << 2 * (g % 4));
      pack_nibbles(found.code + 32 * g, block->q.data() + 16 * g);
    }
  }
}

}  // namespace dsv3::formats
