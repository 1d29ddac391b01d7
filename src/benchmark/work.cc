#include "benchmark/work.h"

#include <cstdio>
#include <string>

namespace dsv3::benchmark {
namespace {

int64_t held_bytes(const Tensor& t) { return t.defined() ? static_cast<int64_t>(t.bytes()) : 0; }

int64_t held_bytes(const ops::LinearWeight& w) {
  return held_bytes(w.weight) + held_bytes(w.scale_inv);
}

int64_t bytes_of(const model::TensorSlot& slot) {
  if (slot.linear == nullptr) return held_bytes(*slot.tensor);
  int64_t bytes = held_bytes(*slot.linear);
  if (slot.kv_up != nullptr) {
    bytes += held_bytes(slot.kv_up->k_b_proj) + held_bytes(slot.kv_up->v_b_proj);
  }
  return bytes;
}

int64_t numel(const Shape& shape) {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

/// The layer of a routed expert's tensor, or -1.
int64_t expert_layer(const std::string& name) {
  long layer = 0, expert = 0;
  return std::sscanf(name.c_str(), "model.layers.%ld.mlp.experts.%ld.", &layer, &expert) == 2
             ? layer
             : -1;
}

}  // namespace

Work& Work::operator+=(const Work& other) {
  weight_bytes += other.weight_bytes;
  cache_bytes += other.cache_bytes;
  operations += other.operations;
  return *this;
}

WorkCounter::WorkCounter(const model::LoadedModel& model, double cache_bytes_per_token)
    : cache_bytes_per_token_(cache_bytes_per_token),
      expert_bytes_(static_cast<size_t>(model.config.num_hidden_layers), 0) {
  const DeepseekV3Config& c = model.config;
  model::ModelWeights weights = model.weights;  // shares the memory
  for (const auto& slot : enumerate_tensors(c, model.head, false, weights)) {
    const int64_t bytes = bytes_of(slot), n = numel(slot.shape);
    total_bytes_ += bytes;
    parameters_ += n;
    const bool is_matrix = slot.linear != nullptr;
    if (const int64_t layer = expert_layer(slot.name); layer >= 0) {
      const auto experts = static_cast<double>(c.n_routed_experts);
      expert_bytes_[static_cast<size_t>(layer)] += static_cast<double>(bytes) / experts;
      chosen_expert_weights_ +=
          static_cast<double>(n) / experts * static_cast<double>(c.num_experts_per_tok);
    } else if (slot.tensor == &weights.embed_tokens.weight) {
      embedding_row_bytes_ = static_cast<double>(bytes) / static_cast<double>(c.vocab_size);
      if (!c.tie_word_embeddings) continue;
      fixed_bytes_ += static_cast<double>(bytes);
      head_weights_ += static_cast<double>(n);
    } else {
      fixed_bytes_ += static_cast<double>(bytes);
      const bool is_head = slot.tensor == &weights.lm_head.weight;
      if (is_matrix) (is_head ? head_weights_ : fixed_weights_) += static_cast<double>(n);
    }
  }
  operations_per_key_ = 2.0 * static_cast<double>(c.num_hidden_layers * c.num_attention_heads *
                                                  (c.qk_head_dim() + c.v_head_dim));
}

int64_t WorkCounter::active_parameters() const {
  return static_cast<int64_t>(fixed_weights_ + chosen_expert_weights_ + head_weights_);
}

Work WorkCounter::of(const Pass& pass) const {
  Work work;
  work.weight_bytes = fixed_bytes_;
  for (size_t l = 0; l < pass.experts_used.size(); ++l) {
    work.weight_bytes += expert_bytes_[l] * static_cast<double>(pass.experts_used[l]);
  }
  for (const Pass::Sequence& s : pass.sequences) {
    const auto tokens = static_cast<double>(s.n_tokens), past = static_cast<double>(s.past);
    work.weight_bytes += tokens * embedding_row_bytes_;
    work.cache_bytes += (past + tokens) * cache_bytes_per_token_;
    const double keys = tokens * past + tokens * (tokens + 1) / 2;
    work.operations += 2 * tokens * (fixed_weights_ + chosen_expert_weights_) + 2 * head_weights_ +
                       keys * operations_per_key_;
  }
  return work;
}

}  // namespace dsv3::benchmark
