#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "generation/causal_lm.h"

namespace dsv3::generation {

/// A model that remembers its last sequence: a new one that begins with the same tokens takes their
/// cache instead of computing them again. This is what makes the second turn of a conversation cost
/// only its own tokens. One sequence is remembered, the last to end; not thread safe.
class PrefixReusingLm : public CausalLm {
 public:
  /// `model` must outlive this object and all its sequences.
  explicit PrefixReusingLm(CausalLm& model) : model_(model) {}

  int64_t vocab_size() const override { return model_.vocab_size(); }
  int64_t max_length() const override { return model_.max_length(); }
  std::unique_ptr<SequenceState> new_sequence() override;
  std::unique_ptr<SequenceState> begin_sequence(std::span<const int64_t> prompt) override;
  void forward(std::span<const Step> steps, std::span<float> logits) override;

  /// Prompt tokens taken from the cache since the last call of this function.
  int64_t take_reused_tokens() { return std::exchange(reused_tokens_, 0); }
  /// Forgets the remembered sequence and its memory.
  void forget() { kept_.reset(), kept_tokens_.clear(); }

 private:
  class State;

  CausalLm& model_;
  std::unique_ptr<SequenceState> kept_;
  std::vector<int64_t> kept_tokens_;
  int64_t reused_tokens_ = 0;
};

}  // namespace dsv3::generation
