#pragma once

#include "dsv3/tensor.h"
#include "tensor/matrix.h"

namespace dsv3::ops {

/// y[t] = x[t] / sqrt(mean(x[t]^2) + eps) * weight, row by row; weight: float32 [cols]; y may be x.
/// Source: DeepseekV3RMSNorm.
void rms_norm(Matrix x, const Tensor& weight, float eps, Matrix y);
/// y += x.
void add(Matrix x, Matrix y);

}  // namespace dsv3::ops
