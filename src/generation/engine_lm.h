#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "dsv3/model.h"
#include "generation/causal_lm.h"
#include "model/deepseek_v3.h"

namespace dsv3::generation {

struct EngineLmOptions {
  DType cache_dtype = DType::kF32;
  /// Tokens that a sequence may hold, allocated when it begins; unset: pages as needed, up to
  /// max_position_embeddings.
  std::optional<int64_t> cache_capacity;
};

/// The engine as generation sees it. Not thread safe: one `forward` at a time.
class EngineLm : public CausalLm {
 public:
  explicit EngineLm(DeepseekV3ForCausalLM model, EngineLmOptions options = {});

  int64_t vocab_size() const override;
  int64_t max_length() const override;
  std::unique_ptr<SequenceState> new_sequence() override;
  /// Throws Error if the logits are not finite. Sequences hold what they held before if it throws.
  void forward(std::span<const Step> steps, std::span<float> logits) override;

  /// From now on `observer` sees every forward pass; an empty one ends that.
  void observe(model::ForwardObserver observer) { observer_ = std::move(observer); }
  /// What a sequence of this class holds.
  static model::LatentCache& cache_of(SequenceState& state);

 private:
  DeepseekV3ForCausalLM model_;
  EngineLmOptions options_;
  model::ForwardObserver observer_;
};

}  // namespace dsv3::generation
