#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/matrix.h"

namespace dsv3::ops {

/// cos and sin of every token's rotary angles: [tokens, pairs].
struct RotaryTable {
  int64_t pairs = 0;
  std::vector<float> cos, sin;
};

/// angle = position * inv_freq, as float32 products, cos and sin multiplied by attention_scaling:
/// transformers does this in float32, and far positions depend on it. Source:
/// DeepseekV3RotaryEmbedding.forward.
RotaryTable rotary_table(std::span<const int64_t> positions, std::span<const float> inv_freq,
                         float attention_scaling);

/// Rotates channels [offset + h * head_stride, + 2 * pairs) of each of `heads` heads in every row
/// of x, in place.
void rotate(const RotaryTable& table, bool interleaved, Matrix x, int64_t heads,
            int64_t head_stride, int64_t offset);

/// The table that takes gradients back: rotating by it is the transpose of rotating by `table`.
RotaryTable transposed(const RotaryTable& table);

}  // namespace dsv3::ops
