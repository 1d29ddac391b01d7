#include "ops/rotary.h"

#include <cmath>

#include "base/thread_pool.h"
#include "kernels/elementwise/elementwise.h"

namespace dsv3::ops {

RotaryTable rotary_table(std::span<const int64_t> positions, std::span<const float> inv_freq,
                         float attention_scaling) {
  RotaryTable table;
  table.pairs = static_cast<int64_t>(inv_freq.size());
  table.cos.resize(positions.size() * inv_freq.size());
  table.sin.resize(positions.size() * inv_freq.size());
  for (size_t t = 0; t < positions.size(); ++t) {
    for (size_t i = 0; i < inv_freq.size(); ++i) {
      const float angle = static_cast<float>(positions[t]) * inv_freq[i];
      table.cos[t * inv_freq.size() + i] =
          static_cast<float>(std::cos(double{angle})) * attention_scaling;
      table.sin[t * inv_freq.size() + i] =
          static_cast<float>(std::sin(double{angle})) * attention_scaling;
    }
  }
  return table;
}

RotaryTable transposed(const RotaryTable& table) {
  RotaryTable back = table;
  for (float& s : back.sin) s = -s;
  return back;
}

void rotate(const RotaryTable& table, bool interleaved, Matrix x, int64_t heads,
            int64_t head_stride, int64_t offset) {
  thread_pool().parallel_for(x.rows, [&](int64_t t) {
    for (int64_t h = 0; h < heads; ++h) {
      kernels::rope(table.cos.data() + t * table.pairs, table.sin.data() + t * table.pairs,
                    table.pairs, interleaved, x.row(t) + offset + h * head_stride);
    }
  });
}

}  // namespace dsv3::ops
