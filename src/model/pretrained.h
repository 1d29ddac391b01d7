#pragma once

#include <filesystem>

#include "dsv3/config.h"
#include "dsv3/model.h"
#include "model/deepseek_v3.h"
#include "model/weights.h"

namespace dsv3::model {

/// A model in memory: what the public classes share.
struct LoadedModel {
  DeepseekV3Config config;
  Head head = Head::kNone;
  ModelWeights weights;
  ComputeOptions options;
  std::filesystem::path
      source;  ///< the folder or file it was loaded from, for the files that are copied on saving
};

/// Reads config.json and the weights of a folder, or a GGUF file. Throws Error; tensors that are
/// missing or have the wrong shape or type are all named in one message, and so are those that the
/// model does not know, which alone are only a warning.
std::shared_ptr<const LoadedModel> load_pretrained(const std::filesystem::path& path, Head head,
                                                   const LoadOptions& options);
/// How to compute, by what the caller wants. Throws Error for what the model cannot do.
ComputeOptions compute_options(const DeepseekV3Config& config, const LoadOptions& options);
void save_pretrained(const LoadedModel& model, const std::filesystem::path& folder,
                     int64_t max_shard_bytes);
/// Copies the files that make a folder with weights usable: those of the tokenizer, the chat
/// template, generation_config.json. What `from` does not have is left out.
void copy_companions(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace dsv3::model
