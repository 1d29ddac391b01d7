#pragma once

#include <string>
#include <vector>

#include "dsv3/config.h"
#include "dsv3/model.h"

namespace dsv3::benchmark {

/// A causal LM of a configuration with random weights, for measuring speed without a file: right in
/// sizes and types, spread in its routing, finite in its numbers, and of no other use. A pool of
/// values is encoded once and repeated at shifting offsets, so that billions of weights take
/// seconds. `type`: one of random_model_types(); llama.cpp's mixtures (Q4_K_M ...) give each tensor
/// the type that `quantize` would, F8_E4M3 is the official checkpoints' layout with scales. Throws
/// Error for an unknown type and for a model larger than memory.
DeepseekV3ForCausalLM random_model(DeepseekV3Config config, const std::string& type,
                                   const LoadOptions& options);

/// Names of all types.
std::vector<std::string> random_model_types();

}  // namespace dsv3::benchmark
