#pragma once

#include <cstdint>

#include "dsv3/config.h"
#include "training/parameters.h"

namespace dsv3::training {

/// Fills the masters as DeepseekV3PreTrainedModel._init_weights does: matrices normal with
/// deviation initializer_range, norms 1, biases 0, the embedding of pad_token_id 0. A parameter's
/// numbers depend on the seed and its name alone.
void initialize(const DeepseekV3Config& config, uint64_t seed, Parameters& parameters);

}  // namespace dsv3::training
