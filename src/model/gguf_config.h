#pragma once

#include <string>

#include "checkpoint/checkpoint.h"
#include "dsv3/config.h"

namespace dsv3::model {

/// The architecture under which llama.cpp keeps DeepSeek-V3 and its kin.
inline constexpr const char* kGgufArchitecture = "deepseek2";

/// The configuration that a GGUF file's keys and tensors say. Throws Error naming the file and the
/// key for another architecture, a missing key, or what this engine does not do (the softmax router
/// of DeepSeek-V2). Files of before llama.cpp wrote expert_group_count do not say how experts are
/// grouped: those of DeepSeek-V3's own sizes get its 4 of 8 groups, with a warning, others none.
/// Numbers that the file holds in float32 are taken as their shortest decimal form.
DeepseekV3Config config_from_gguf(const Checkpoint& checkpoint);

/// The inverse: adds the keys "general.architecture" and "deepseek2.*" that llama.cpp reads.
/// `split_kv_b`: the file has attn_k_b and attn_v_b, for which llama.cpp wants the sizes of latent
/// attention in other keys. Throws Error for what the keys cannot say.
void add_gguf_config(const DeepseekV3Config& config, bool split_kv_b, GgufMetadata& metadata);

}  // namespace dsv3::model
