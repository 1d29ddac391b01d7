#include "training/parameters.h"

#include <algorithm>
#include <map>

#include "base/thread_pool.h"
#include "formats/float_formats.h"

namespace dsv3::training {
namespace {

using model::Head;
using model::TensorRole;
using model::TensorSlot;

constexpr int64_t kAlignment = 16;  // elements: a cache line of float32

// What modules and tied heads share with the main model.
void share(const DeepseekV3Config& config, Head head, model::ModelWeights& weights) {
  if (head == Head::kCausalLm && config.tie_word_embeddings) weights.lm_head = weights.embed_tokens;
  for (model::MtpWeights& mtp : weights.mtp) {
    mtp.embed_tokens = weights.embed_tokens;
    mtp.shared_head = weights.lm_head;
  }
}

template <class F>
void for_parts(int64_t n, F&& f) {
  constexpr int64_t kPart = int64_t{1} << 16;
  thread_pool().parallel_for((n + kPart - 1) / kPart,
                             [&](int64_t i) { f(i * kPart, std::min(n, (i + 1) * kPart)); });
}

}  // namespace

Parameters::Parameters(const DeepseekV3Config& config, TrainingDType dtype, Head head, bool mtp) {
  const auto slots = model::enumerate_tensors(config, head, mtp, weights);
  const auto gradient_slots = model::enumerate_tensors(config, head, mtp, gradients);
  std::vector<size_t> trained;
  for (size_t i = 0; i < slots.size(); ++i) {
    const TensorSlot& slot = slots[i];
    if (slot.role == TensorRole::kCorrectionBias) {
      *slot.tensor = Tensor(DType::kF32, slot.shape);
      const auto layer_begin = slot.name.find("layers.") + 7;
      biases.push_back({slot.name, std::stoll(slot.name.substr(layer_begin)), *slot.tensor});
      continue;
    }
    if (slot.optional) continue;  // a copy of the main model's
    Parameter p{.name = slot.name, .shape = slot.shape, .begin = size_, .count = 1};
    for (const int64_t n : slot.shape) p.count *= n;
    p.vector = slot.role == TensorRole::kNorm || slot.role == TensorRole::kBias;
    p.bf16 = dtype == TrainingDType::kBFloat16 &&
             (slot.role == TensorRole::kLinear || slot.role == TensorRole::kEmbedding);
    size_ += (p.count + kAlignment - 1) / kAlignment * kAlignment;
    count_ += p.count;
    parameters_.push_back(p);
    trained.push_back(i);
  }
  masters_ = Tensor(DType::kF32, {size_});
  gradient_ = Tensor(DType::kF32, {size_});
  moment1_ = Tensor(DType::kF32, {size_});
  moment2_ = Tensor(DType::kF32, {size_});
  if (dtype == TrainingDType::kBFloat16) bf16_ = Tensor(DType::kBF16, {size_});
  for (size_t i = 0; i < trained.size(); ++i) {
    const Parameter& p = parameters_[i];
    *slots[trained[i]].tensor = view(p.bf16 ? bf16_ : masters_, p);
    *gradient_slots[trained[i]].tensor = view(gradient_, p);
  }
  share(config, head, weights);
  share(config, head, gradients);
}

uint16_t* Parameters::bf16(const Parameter& p) {
  return p.bf16 ? static_cast<uint16_t*>(bf16_.mutable_raw()) + p.begin : nullptr;
}

void Parameters::copy_from(const model::LoadedModel& model) {
  model::ModelWeights from = model.weights;
  std::map<std::string, Tensor> tensors;
  for (const TensorSlot& slot :
       model::enumerate_tensors(model.config, model.head, !from.mtp.empty(), from))
    tensors[slot.name] = *slot.tensor;
  const auto copy = [&](const std::string& name, Tensor to) {
    const auto it = tensors.find(name);
    if (it == tensors.end()) return;
    const auto values = it->second.as<float>();
    std::copy(values.begin(), values.end(), to.as_mutable<float>().begin());
  };
  for (const Parameter& p : parameters_) copy(p.name, master(p));
  for (const Bias& bias : biases) copy(bias.name, bias.values);
  round_masters();
}

void Parameters::round_masters() {
  for (const Parameter& p : parameters_) {
    uint16_t* to = bf16(p);
    if (to == nullptr) continue;
    const float* from = masters_.as<float>().data() + p.begin;
    for_parts(p.count, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = formats::float_to_bf16(from[i]);
    });
  }
}

void Parameters::clear_gradient() {
  float* g = gradient().data();
  for_parts(size_, [&](int64_t begin, int64_t end) { std::fill(g + begin, g + end, 0.0f); });
}

}  // namespace dsv3::training
