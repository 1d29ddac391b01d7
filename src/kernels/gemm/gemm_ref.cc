#include <cstring>
#include <vector>

#include "base/error.h"
#include "formats/block_format.h"
#include "formats/float_formats.h"
#include "kernels/gemm/gemm.h"

namespace dsv3::kernels {
namespace {

template <typename T>
T load(const WeightView& w, int64_t r, int64_t c) {
  T x;
  std::memcpy(&x, static_cast<const char*>(w.row(r)) + c * static_cast<int64_t>(sizeof(T)),
              sizeof(T));
  return x;
}

float element(const WeightView& w, int64_t r, int64_t c) {
  switch (w.format) {
    case DType::kF32:
      return load<float>(w, r, c);
    case DType::kF16:
      return formats::f16_to_float(load<uint16_t>(w, r, c));
    case DType::kBF16:
      return formats::bf16_to_float(load<uint16_t>(w, r, c));
    case DType::kF8E4M3: {
      const int64_t block = (w.first_row + r) / w.block_rows * w.scale_stride + c / w.block_cols;
      return formats::e4m3_to_float(load<uint8_t>(w, r, c)) * w.scale[block];
    }
    default:
      fail("{} is not a format of weights", dtype_name(w.format));
  }
}

std::vector<float> decoded(const WeightView& w) {
  std::vector<float> values(w.rows * w.cols);
  decode_ref(w, values.data(), w.cols);
  return values;
}

const float* activation_row(const ActivationRows& a, int64_t i) {
  return a.data + (a.rows != nullptr ? a.rows[i] : i) * a.stride;
}

}  // namespace

void decode_ref(const WeightView& w, float* out, int64_t ld) {
  for (int64_t r = 0; r < w.rows; ++r) {
    if (is_block_format(w.format)) {
      formats::block_format(w.format).decode(w.row(r), w.cols, out + r * ld);
    } else {
      for (int64_t c = 0; c < w.cols; ++c) out[r * ld + c] = element(w, r, c);
    }
  }
}

void gemm_nt_ref(int64_t m, const ActivationRows& a, const WeightView& w, float* c, int64_t ldc) {
  const std::vector<float> weights = decoded(w);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t n = 0; n < w.rows; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < w.cols; ++k)
        sum += double{activation_row(a, i)[k]} * weights[n * w.cols + k];
      c[i * ldc + n] = static_cast<float>(sum);
    }
  }
}

void gemm_nn_ref(int64_t m, const ActivationRows& a, const WeightView& w, float* c, int64_t ldc,
                 bool accumulate) {
  const std::vector<float> weights = decoded(w);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t n = 0; n < w.cols; ++n) {
      double sum = accumulate ? c[i * ldc + n] : 0.0;
      for (int64_t k = 0; k < w.rows; ++k)
        sum += double{activation_row(a, i)[k]} * weights[k * w.cols + n];
      c[i * ldc + n] = static_cast<float>(sum);
    }
  }
}

}  // namespace dsv3::kernels
