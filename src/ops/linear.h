#pragma once

#include "dsv3/tensor.h"
#include "kernels/weight_view.h"
#include "tensor/matrix.h"

namespace dsv3::ops {

/// How the input of an FP8 linear is treated.
enum class Fp8Activations : uint8_t {
  kNone,     ///< weight-only: float32 activations
  kDynamic,  ///< quantised per token and 128 channels before each FP8 linear, float32 scales
  kDynamicPowerOfTwo  ///< the same with scales rounded up to a power of two (scale_fmt "ue8m0")
};

/// The weights of y = x W^T + b, in the checkpoint's format.
struct LinearWeight {
  Tensor weight;     ///< [out, in]; F32, F16, BF16 or F8_E4M3
  Tensor scale_inv;  ///< F8_E4M3 only: float32 [ceil(out / block_rows), ceil(in / block_cols)]
  Tensor bias;       ///< float32 [out], or absent
  int64_t block_rows = 128;
  int64_t block_cols = 128;

  bool defined() const { return weight.defined(); }
  bool is_fp8() const { return weight.dtype() == DType::kF8E4M3; }
  int64_t out_features() const { return weight.dim(0); }
  int64_t in_features() const { return weight.dim(1); }
  kernels::WeightView view() const;
};

/// Channels that share a scale when activations are quantised (kernel.py: block_size).
inline constexpr int64_t kActivationGroup = 128;

/// y[t, :] = x[t, :] W^T + b for all rows t, split over the threads. x: [tokens, in], y: [tokens,
/// out]. Source: torch.nn.Linear; FP8: fp8_gemm and weight_dequant of DeepSeek's kernel.py.
void linear(Matrix x, const LinearWeight& w, Matrix y, Fp8Activations fp8 = Fp8Activations::kNone);

/// Quantises and dequantises each row in groups of kActivationGroup channels; y may be x.
void fake_quantize(Matrix x, Fp8Activations fp8, Matrix y);

}  // namespace dsv3::ops
