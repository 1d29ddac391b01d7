#include "cli/model_sizes.h"

#include <string>

namespace dsv3::cli {
namespace {

int64_t product(const Shape& shape) {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

}  // namespace

ModelSizes count_parameters(const DeepseekV3Config& config, model::Head head) {
  ModelSizes sizes;
  model::ModelWeights weights;
  int64_t experts = 0;
  const bool with_mtp = config.num_nextn_predict_layers > 0;
  const std::string first_mtp = "model.layers." + std::to_string(config.num_hidden_layers) + ".";
  bool in_mtp = false;
  for (const model::TensorSlot& slot : enumerate_tensors(config, head, with_mtp, weights)) {
    // The enumeration has the MTP modules together, between the layers and the head.
    in_mtp = (in_mtp || slot.name.starts_with(first_mtp)) && slot.in_trunk;
    if (slot.role == model::TensorRole::kCorrectionBias || slot.optional) continue;
    const int64_t n = product(slot.shape);
    if (in_mtp) {
      sizes.mtp += n;
      continue;
    }
    sizes.total += n;
    if (slot.name == "model.embed_tokens.weight" || slot.name == "lm_head.weight")
      sizes.embeddings += n;
    if (slot.name.find(".mlp.experts.") != std::string::npos) experts += n;
  }
  const int64_t chosen = config.n_routed_experts > 0
                             ? experts / config.n_routed_experts * config.num_experts_per_tok
                             : 0;
  sizes.active = sizes.total - experts + chosen;
  sizes.active_no_embeddings = sizes.active - sizes.embeddings;
  return sizes;
}

model::Head head_of(const DeepseekV3Config& config) {
  if (config.architectures.empty()) return model::Head::kCausalLm;
  const std::string& name = config.architectures.front();
  if (name.ends_with("ForSequenceClassification")) return model::Head::kSequenceClassification;
  if (name.ends_with("ForTokenClassification")) return model::Head::kTokenClassification;
  if (name.ends_with("V3Model")) return model::Head::kNone;
  return model::Head::kCausalLm;
}

std::string_view class_name(model::Head head) {
  switch (head) {
    case model::Head::kNone:
      return "DeepseekV3Model";
    case model::Head::kCausalLm:
      return "DeepseekV3ForCausalLM";
    case model::Head::kSequenceClassification:
      return "DeepseekV3ForSequenceClassification";
    case model::Head::kTokenClassification:
      return "DeepseekV3ForTokenClassification";
  }
  return "";
}

}  // namespace dsv3::cli
