#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "model/pretrained.h"

namespace dsv3::model {
namespace {

// Files beside the weights that make a folder a usable model; copied as they are.
constexpr const char* kCompanions[] = {
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json",      "tiktoken.model", "chat_template.jinja"};

std::vector<std::pair<std::string, Tensor>> named_tensors(const LoadedModel& model) {
  ModelWeights weights = model.weights;  // shares the memory
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const TensorSlot& slot :
       enumerate_tensors(model.config, model.head, !weights.mtp.empty(), weights)) {
    const bool in_halves = slot.kv_up != nullptr && slot.kv_up->is_split();
    if (in_halves || is_block_format(slot.tensor->dtype())) {
      fail(
          "tensor '{}' is held as in a GGUF file ({}), which safetensors files cannot say: load "
          "the "
          "model as float32 or bfloat16 to save it",
          slot.name, in_halves ? "in two halves" : dtype_name(slot.tensor->dtype()));
    }
    if (!slot.tensor->defined())
      continue;  // a copy in an MTP module of a head that this model does not have
    tensors.emplace_back(slot.name, *slot.tensor);
    if (slot.linear != nullptr && slot.linear->scale_inv.defined()) {
      tensors.emplace_back(slot.name + "_scale_inv", slot.linear->scale_inv);
    }
  }
  return tensors;
}

}  // namespace

void save_pretrained(const LoadedModel& model, const std::filesystem::path& folder,
                     int64_t max_shard_bytes) {
  if (max_shard_bytes < 1)
    fail("max_shard_bytes: expected a positive number, found {}", max_shard_bytes);
  const auto tensors = named_tensors(model);
  std::vector<TensorPlan> plan;
  for (const auto& [name, tensor] : tensors) plan.push_back({name, tensor.dtype(), tensor.shape()});
  CheckpointWriter writer(folder, plan,
                          {.max_shard_bytes = static_cast<uint64_t>(max_shard_bytes)});
  for (size_t i = 0; i < tensors.size(); ++i) {
    writer.write(tensors[i].first, tensors[i].second);
    report_progress("saving", static_cast<int64_t>(i + 1), static_cast<int64_t>(tensors.size()));
  }
  writer.finish();

  DeepseekV3Config config = model.config;
  if (model.weights.mtp.empty())
    config.num_nextn_predict_layers = 0;  // they were not loaded, so they are not saved
  write_file_atomically(folder / "config.json", config.to_json());
  if (model.source.empty()) return;  // made, not loaded
  copy_companions(
      std::filesystem::is_directory(model.source) ? model.source : model.source.parent_path(),
      folder);
}

void copy_companions(const std::filesystem::path& from, const std::filesystem::path& to) {
  for (const char* name : kCompanions) {
    std::error_code ignored;
    if (std::filesystem::exists(from / name) && !std::filesystem::equivalent(from, to, ignored)) {
      write_file_atomically(to / name, read_file(from / name));
    }
  }
}

}  // namespace dsv3::model

namespace dsv3 {

const DeepseekV3Config& PreTrainedModel::config() const { return loaded_->config; }

int64_t PreTrainedModel::num_parameters() const {
  model::ModelWeights weights = loaded_->weights;
  int64_t sum = 0;
  for (const auto& slot :
       enumerate_tensors(loaded_->config, loaded_->head, !weights.mtp.empty(), weights)) {
    if (slot.tensor->defined()) sum += slot.tensor->numel();
    if (slot.kv_up != nullptr && slot.kv_up->is_split()) {
      sum += slot.kv_up->k_b_proj.weight.numel() + slot.kv_up->v_b_proj.weight.numel();
    }
  }
  return sum;
}

void PreTrainedModel::save_pretrained(const std::filesystem::path& folder,
                                      int64_t max_shard_bytes) const {
  model::save_pretrained(*loaded_, folder, max_shard_bytes);
}

}  // namespace dsv3
