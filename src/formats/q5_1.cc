#include "formats/q5_1.h"

#include <algorithm>

#include "formats/block_range.h"
#include "formats/nibbles.h"
#include "formats/scale_search.h"

namespace dsv3::formats {

void decode_q5_1(const void* blocks, int64_t n, float* out) {
  const auto* block = static_cast<const BlockQ5_1*>(blocks);
  for (int64_t b = 0; b < n / 32; ++b) {
    const float d = block[b].d.value();
    const float m = block[b].m.value();
    uint8_t codes[32];
    unpack_nibbles(block[b].q.data(), codes);
    unpack_fifth_bits(block[b].q4.data(), codes);
    for (int i = 0; i < 32; ++i) out[32 * b + i] = d * static_cast<float>(codes[i]) + m;
  }
}

namespace {

void pack(Half d, Half m, const uint8_t* codes, BlockQ5_1* block) {
  block->d = d;
  block->m = m;
  pack_nibbles(codes, block->q.data());
  pack_fifth_bits(codes, block->q4.data());
}

void encode_plainly(const float* x, BlockQ5_1* block) {
  const auto [low, high] = range(x);
  const float d = (high - low) / 31.0f;
  const float inverse = inverse_or_zero(d);
  uint8_t codes[32];
  for (int i = 0; i < 32; ++i) {
    codes[i] = static_cast<uint8_t>(std::min(static_cast<int>((x[i] - low) * inverse + 0.5f), 31));
  }
  pack(Half::nearest(d), Half::nearest(low), codes, block);
}

}  // namespace

void encode_q5_1(const float* x, int64_t n, const float* importance, void* blocks) {
  auto* block = static_cast<BlockQ5_1*>(blocks);
  if (importance == nullptr) {
    for (int64_t b = 0; b < n / 32; ++b) encode_plainly(x + 32 * b, block + b);
    return;
  }
  for (int64_t i = 0; i < n; i += kSearchElements) {
    const auto count = static_cast<int>(std::min<int64_t>(n - i, kSearchElements) / 32);
    BlockScalesAndOffsets found;
    search_block_scales_and_offsets(x + i, importance + i, count, 31, &found);
    for (int b = 0; b < count; ++b) {
      pack(found.d[b], found.m[b], found.code + 32 * b, block + i / 32 + b);
    }
  }
}

}  // namespace dsv3::formats
