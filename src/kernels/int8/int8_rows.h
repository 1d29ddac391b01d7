#pragma once

#include <cstdint>

namespace dsv3::kernels {

/// 256 channels of a row of activations as 8-bit integers: x = scale * code with one scale for 32
/// channels, 1/127 of the largest magnitude among them. Kept by groups of 16, which is what the
/// weights' block formats have scales for; the two groups of 32 channels have the same scale.
/// Channels beyond the row's end are zero.
struct alignas(64) Int8Chunk {
  static constexpr int64_t kChannels = 256;
  static constexpr int64_t kGroups = 16;
  int8_t codes[kChannels];
  float scale[kGroups];
  float sum[kGroups];  ///< scale * the sum of the group's codes
};

constexpr int64_t int8_chunks(int64_t cols) {
  return (cols + Int8Chunk::kChannels - 1) / Int8Chunk::kChannels;
}

/// Rows of such chunks: row i is the int8_chunks(cols) of them from index(i) * int8_chunks(cols)
/// on, index(i) = rows[i], or i if rows is null.
struct Int8Rows {
  const Int8Chunk* data = nullptr;
  const int32_t* rows = nullptr;

  const Int8Chunk* row(int64_t i, int64_t cols) const {
    return data + (rows != nullptr ? rows[i] : i) * int8_chunks(cols);
  }
};

/// Rounds x[0, n) to 8-bit integers, ties to even; the chunks are filled up with zeros. A group
/// with NaN or infinity gets the scale NaN, so that it shows in every product.
void quantize_int8(const float* x, int64_t n, Int8Chunk* out);
/// The same for channels [channel, channel + n) of a row of chunks, `channel` a multiple of 32;
/// x[0] is the first. Fills up with zeros to the next multiple of 32.
void quantize_int8_channels(const float* x, int64_t channel, int64_t n, Int8Chunk* row);

void quantize_int8_channels_ref(const float* x, int64_t channel, int64_t n, Int8Chunk* row);

}  // namespace dsv3::kernels
