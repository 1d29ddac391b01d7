#pragma once

#include <cstdint>
#include <string>

#include "training/parameters.h"

namespace dsv3::training {

/// The L2 norm of all gradients together, summed in double in a fixed order.
double gradient_norm(const Parameters& parameters);
/// The same as torch.nn.utils.clip_grad_norm_ has it on a CPU: of each tensor in float32, in eight
/// sums over every eighth element, experts of a layer as the two tensors that transformers packs
/// them in; then of these norms.
double torch_gradient_norm(const Parameters& parameters);
/// "gradient of NAME, element I: nan" for the first gradient that is not finite; "" if all are.
std::string first_not_finite(const Parameters& parameters);

/// Step number `step`, from 1, with gradients multiplied by `gradient_scale`.
void adamw_step(const AdamWOptions& options, int64_t step, double learning_rate,
                double gradient_scale, Parameters& parameters);

}  // namespace dsv3::training
