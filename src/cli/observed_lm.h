#pragma once

#include <chrono>
#include <cstdint>

#include "generation/causal_lm.h"

namespace dsv3::cli {

/// Leaves generate when Ctrl-C comes where no callback can end it: during prompts and in beam
/// search.
class Interrupted {};

/// Passes everything on to a model, and counts and times it.
class ObservedLm : public generation::CausalLm {
 public:
  struct Counts {
    int64_t prompt_tokens = 0;
    double prompt_seconds = 0;
    int64_t decoded_tokens = 0;   ///< fed after the prompts, of all beams
    int64_t largest_context = 0;  ///< tokens held by the sequences of one step, all together
  };

  /// `prompt_tokens`: of all prompts together. With `stoppable`, Ctrl-C throws also after the
  /// prompts.
  ObservedLm(generation::CausalLm& model, int64_t prompt_tokens, bool stoppable)
      : model_(model), prompt_tokens_left_(prompt_tokens), stoppable_(stoppable) {}

  const Counts& counts() const { return counts_; }

  int64_t vocab_size() const override { return model_.vocab_size(); }
  int64_t max_length() const override { return model_.max_length(); }
  std::unique_ptr<generation::SequenceState> new_sequence() override {
    return model_.new_sequence();
  }
  std::unique_ptr<generation::SequenceState> begin_sequence(
      std::span<const int64_t> prompt) override;
  void forward(std::span<const generation::Step> steps, std::span<float> logits) override;

 private:
  generation::CausalLm& model_;
  int64_t prompt_tokens_left_;
  bool stoppable_;
  Counts counts_;
};

}  // namespace dsv3::cli
