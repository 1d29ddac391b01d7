#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "dsv3/config.h"
#include "model/weights.h"

namespace dsv3::cli {

/// Numbers of weights, counted over the model's tensors. e_score_correction_bias is a buffer and no
/// parameter in Hugging Face, and does not count here either.
struct ModelSizes {
  int64_t total = 0;       ///< of the model with its head, MTP modules aside
  int64_t embeddings = 0;  ///< of these embed_tokens and lm_head
  int64_t active = 0;      ///< that one token is computed with: all but the experts not chosen
  int64_t active_no_embeddings = 0;
  int64_t mtp = 0;  ///< of the MTP modules, without their copies of embedding and head
};

ModelSizes count_parameters(const DeepseekV3Config& config, model::Head head);

/// Which head the first of `architectures` has; a causal LM where there is none.
model::Head head_of(const DeepseekV3Config& config);
std::string_view class_name(model::Head head);

}  // namespace dsv3::cli
