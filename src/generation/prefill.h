#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "generation/causal_lm.h"
#include "generation/prompts.h"

namespace dsv3::generation {

/// Feeds the prompts to the model, at most `chunk` tokens a step, several prompts sharing a step.
/// `ready` gets each prompt's state and the logits after its last token, which it may change.
/// Prompts that may not grow (max_new_tokens() of 0) are passed over.
void prefill(CausalLm& model, std::span<const Prompt> prompts, int64_t chunk,
             const std::function<void(size_t prompt, std::unique_ptr<SequenceState> state,
                                      std::span<float> logits)>& ready);

}  // namespace dsv3::generation
