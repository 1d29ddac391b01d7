#pragma once

#include <cstddef>
#include <cstdint>

#include "dsv3/tensor.h"

namespace dsv3::kernels {

/// Tokens in a page of the latent cache; also the tile of keys by which the softmax proceeds.
inline constexpr int64_t kPageTokens = 64;

/// How a layer's tokens lie in a page of the latent cache: `rank` channels of the normalised latent
/// and `rope` channels of the rotated key for each of kPageTokens tokens.
///
/// F32, BF16: a row of rank + rope numbers for each token, one row after the other.
///
/// I8: latents as 8-bit codes, in groups of kGroup channels with a scale each (the last group may
/// be shorter); rotated keys as BF16, since they are not normalised and few. Three arrays after
/// each other:
///   codes   [64][code_stride]   uint8, code = 128 + round(x / scale), 1 .. 255; 128 pads the row;
///                               in each 64 channels, 16 i + 4 j + k stands at 16 j + 4 i + k, by
///                               which interleaving tokens brings channels into their order
///   rope    [64][rope_stride]   bf16, 0 pads the row
///   scales  [64][groups]        bf16, the largest magnitude of the group / 127, rounded up
/// A token of DeepSeek-V3 (512 + 64) takes 648 bytes; BF16 takes 1152.
struct LatentLayout {
  DType dtype = DType::kF32;  ///< F32, BF16 or I8
  int64_t rank = 0;
  int64_t rope = 0;

  static constexpr int64_t kGroup = 128;

  int64_t width() const { return rank + rope; }
  int64_t groups() const { return (rank + kGroup - 1) / kGroup; }
  int64_t code_stride() const { return (rank + 63) / 64 * 64; }  ///< bytes
  int64_t rope_stride() const { return (rope + 1) / 2 * 2; }     ///< elements
  int64_t page_bytes() const;

  /// Where the code of a channel stands in its row.
  static constexpr int64_t code_index(int64_t channel) {
    return (channel & ~int64_t{63}) | (channel >> 4 & 3) << 2 | (channel >> 2 & 3) << 4 |
           (channel & 3);
  }
  const uint8_t* codes(const void* page) const { return static_cast<const uint8_t*>(page); }
  const uint16_t* rope_rows(const void* page) const {
    return reinterpret_cast<const uint16_t*>(codes(page) + kPageTokens * code_stride());
  }
  const uint16_t* scales(const void* page) const {
    return rope_rows(page) + kPageTokens * rope_stride();
  }
};

/// Writes token `slot` of a page: `row` [width], normalised latent, then rotated key. BF16 rounds
/// to nearest even.
void store_latent(const LatentLayout& layout, void* page, int64_t slot, const float* row);
/// The first n tokens as float32, [n, width] with rows `ld` floats apart.
void decode_latents(const LatentLayout& layout, const void* page, int64_t n, float* out,
                    int64_t ld);

}  // namespace dsv3::kernels
