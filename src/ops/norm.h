#pragma once

#include "dsv3/tensor.h"
#include "tensor/matrix.h"

namespace dsv3::ops {

/// y[t] = x[t] / sqrt(mean(x[t]^2) + eps) * weight, row by row; weight: float32 [cols]; y may be x.
/// Source: DeepseekV3RMSNorm.
void rms_norm(Matrix x, const Tensor& weight, float eps, Matrix y);
/// Gradients of y = rms_norm(x): dx, written or, if `accumulate`, added to (dx may be dy if it is
/// written); dweight [cols] is added to.
void rms_norm_backward(Matrix x, const Tensor& weight, float eps, Matrix dy, bool accumulate,
                       Matrix dx, Tensor& dweight);
/// y += x.
void add(Matrix x, Matrix y);

}  // namespace dsv3::ops
