#pragma once

#include <cstdint>
#include <vector>

#include "dsv3/config.h"

namespace dsv3::model {

/// Frequencies of the rotary embedding and what multiplies cos and sin.
struct RopeFrequencies {
  std::vector<float> inv_freq;  ///< [qk_rope_head_dim / 2]
  float attention_scaling = 1;
};

/// `sequence_length` (largest position + 1) matters for rope_type "dynamic" only. Source:
/// modeling_rope_utils.py; YaRN: Peng et al. 2023, and section 4.3 of the report.
RopeFrequencies rope_frequencies(const DeepseekV3Config& config, int64_t sequence_length);

/// qk_head_dim^-1/2, times (0.1 mscale_all_dim ln(factor) + 1)^2 for scaled rotary embeddings that
/// say mscale_all_dim. Applies at every length. Source: DeepseekV3Attention.
float softmax_scale(const DeepseekV3Config& config);

}  // namespace dsv3::model
