#include "formats/iq4_nl.h"

#include <algorithm>

#include "formats/nibbles.h"
#include "formats/scale_search.h"

namespace dsv3::formats {

void decode_iq4_nl(const void* blocks, int64_t n, float* out) {
  const auto* block = static_cast<const BlockIQ4_NL*>(blocks);
  for (int64_t b = 0; b < n / 32; ++b) {
    const float d = block[b].d.value();
    uint8_t codes[32];
    unpack_nibbles(block[b].q.data(), codes);
    for (int i = 0; i < 32; ++i) out[32 * b + i] = d * static_cast<float>(kIq4Values[codes[i]]);
  }
}

void encode_iq4_nl(const float* x, int64_t n, const float* importance, void* blocks) {
  auto* block = static_cast<BlockIQ4_NL*>(blocks);
  for (int64_t i = 0; i < n; i += kSearchElements) {
    const auto count = static_cast<int>(std::min<int64_t>(n - i, kSearchElements) / 32);
    BlockScales found;
    search_block_scales(x + i, importance == nullptr ? nullptr : importance + i, count,
                        {CodeValues::kIq4}, &found);
    for (int b = 0; b < count; ++b, ++block) {
      block->d = found.d[b];
      pack_nibbles(found.code + 32 * b, block->q.data());
    }
  }
}

}  // namespace dsv3::formats
