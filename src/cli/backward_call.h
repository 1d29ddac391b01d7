#pragma once

#include <filesystem>

#include "cli/forward_call.h"

namespace dsv3::cli {

/// The method `backward` of a folder of golden data: `loss`, `logits` and `grads.<parameter>` at
/// the checkpoint's weights; then `optimizer.steps` steps on the same batch (gradients clipped by
/// their global norm, AdamW on every parameter): `losses`, `grad_norms` and
/// `params_after.<parameter>`. In float32.
Tensors run_backward(const std::filesystem::path& folder, const Call& call,
                     const ForwardArgs& args);

}  // namespace dsv3::cli
