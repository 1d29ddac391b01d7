#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "base/json.h"
#include "dsv3/model.h"

namespace dsv3::cli {

/// One call of a model, as a folder of golden data describes it: `class`, `method`, `kwargs` and
/// `chunks` of call.json, and tensors named as the arguments.
struct Call {
  std::string class_name;  ///< DeepseekV3Model, DeepseekV3ForCausalLM ..., or fp8_linear
  std::string method;      ///< forward, backward, generate or linear
  Json kwargs;
  int64_t chunks = 0;  ///< forward calls that share past_key_values; 0: a single call
  Json optimizer;      ///< backward: the steps that follow, an object; null: none
};

using Tensors = std::map<std::string, Tensor>;

/// Reads call.json. Throws Error for what it does not know, naming the field and what is supported.
Call read_call(const std::filesystem::path& call_json);
/// All tensors of a safetensors file.
Tensors read_tensors(const std::filesystem::path& path);

/// Loads the model and makes the call. Results: `loss`, `logits` (`logits.<chunk>`),
/// `last_hidden_state`, `hidden_states.<i>`, `attentions.<i>`; `sequences` and `sequences_scores`;
/// of `backward` what run_backward names;
/// with an MTP module and labels or without a cache to share also `mtp_logits`,
/// `mtp_hidden_states`, `mtp_loss`; for `linear` what fp8_linear names.
Tensors run_call(const std::filesystem::path& model, const Call& call, const Tensors& inputs,
                 const LoadOptions& options);

}  // namespace dsv3::cli
