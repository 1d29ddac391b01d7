#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "kernels/int8/int8_dot.h"

namespace dsv3::kernels {

void quantize_int8_channels_ref(const float* x, int64_t channel, int64_t n, Int8Chunk* row) {
  for (int64_t first = 0; first < n; first += 32) {
    Int8Chunk& chunk = row[(channel + first) / Int8Chunk::kChannels];
    const int64_t at = (channel + first) % Int8Chunk::kChannels;
    const int64_t count = std::min<int64_t>(n - first, 32);
    float largest = 0;
    bool finite = true;
    for (int64_t i = 0; i < count; ++i) {
      finite &= std::isfinite(x[first + i]);
      largest = std::max(largest, std::fabs(x[first + i]));
    }
    const float inverse = largest > 0 && finite ? 127.0f / largest : 0.0f;
    const float scale = finite ? largest / 127.0f : std::numeric_limits<float>::quiet_NaN();
    for (int64_t half = 0; half < 2; ++half) {
      int sum = 0;
      for (int64_t i = 16 * half; i < 16 * half + 16; ++i) {
        const float value = i < count && finite ? x[first + i] * inverse : 0.0f;
        chunk.codes[at + i] =
            static_cast<int8_t>(std::nearbyintf(std::clamp(value, -127.0f, 127.0f)));
        sum += chunk.codes[at + i];
      }
      chunk.scale[at / 16 + half] = scale;
      chunk.sum[at / 16 + half] = scale * static_cast<float>(sum);
    }
  }
}

void gemm_nt_int8_ref(int64_t m, const Int8Rows& a, const WeightView& w, float* c, int64_t ldc) {
  std::vector<float> weights(w.rows * w.cols);
  decode_ref(w, weights.data(), w.cols);
  for (int64_t i = 0; i < m; ++i) {
    const Int8Chunk* row = a.row(i, w.cols);
    for (int64_t n = 0; n < w.rows; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < w.cols; ++k) {
        const Int8Chunk& chunk = row[k / Int8Chunk::kChannels];
        const int64_t in_chunk = k % Int8Chunk::kChannels;
        sum += double{weights[n * w.cols + k]} * chunk.codes[in_chunk] * chunk.scale[in_chunk / 16];
      }
      c[i * ldc + n] = static_cast<float>(sum);
    }
  }
}

}  // namespace dsv3::kernels
