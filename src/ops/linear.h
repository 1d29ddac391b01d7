#pragma once

#include "dsv3/tensor.h"
#include "kernels/matmul/matmul.h"
#include "kernels/weight_view.h"
#include "tensor/matrix.h"

namespace dsv3::ops {

/// How the inputs of products with weights are rounded before.
enum class Activations : uint8_t {
  kFloat32,        ///< not at all
  kFast,           ///< to what is fastest with the weights' format: kernels/packed/packed_rows.h
  kFp8,            ///< those of FP8 weights per token and 128 channels, with float32 scales
  kFp8PowerOfTwo,  ///< the same with scales rounded up to a power of two (scale_fmt "ue8m0")
};
constexpr bool rounds_to_fp8(Activations a) {
  return a == Activations::kFp8 || a == Activations::kFp8PowerOfTwo;
}

/// The weights of y = x W^T + b, in the checkpoint's format.
struct LinearWeight {
  Tensor weight;     ///< [out, in]; F32, F16, BF16, F8_E4M3 or a block format
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

/// A float32 or BF16 weight as a side of a product; Error if it is of another type.
kernels::MatmulOperand operand(const LinearWeight& w);
inline kernels::MatmulOperand operand(Matrix x) { return {.data = x.data, .stride = x.stride}; }
inline kernels::MatmulOperand transposed(kernels::MatmulOperand x) {
  x.transposed = true;
  return x;
}
/// In what numbers the products of a weight's backward pass are computed.
inline kernels::MatmulPrecision backward_precision(const LinearWeight& w) {
  return w.weight.dtype() == DType::kBF16 ? kernels::MatmulPrecision::kBFloat16
                                          : kernels::MatmulPrecision::kFloat32;
}

/// Channels that share a scale when activations are quantised (kernel.py: block_size).
inline constexpr int64_t kActivationGroup = 128;

/// y[t, :] = x[t, :] W^T + b for all rows t, split over the threads. x: [tokens, in], y: [tokens,
/// out]. Source: torch.nn.Linear; FP8: fp8_gemm and weight_dequant of DeepSeek's kernel.py.
void linear(Matrix x, const LinearWeight& w, Matrix y,
            Activations activations = Activations::kFloat32);

/// Gradients of y = x W^T + b from dy [tokens, out]. dx [tokens, in], if it has memory, is written
/// or, if `accumulate`, added to; `gradient` (float32, as large as w) is added to. Products are in
/// bfloat16 if the weight is. W: F32 or BF16.
void linear_backward(Matrix x, const LinearWeight& w, Matrix dy, bool accumulate, Matrix dx,
                     LinearWeight& gradient);

/// Rounds each row to FP8 and back, in groups of kActivationGroup channels; y may be x.
/// `activations`: kFp8 or kFp8PowerOfTwo.
void fake_quantize(Matrix x, Activations activations, Matrix y);

}  // namespace dsv3::ops
