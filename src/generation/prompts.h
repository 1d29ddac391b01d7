#pragma once

#include <cstdint>
#include <vector>

#include "dsv3/generation.h"
#include "generation/causal_lm.h"

namespace dsv3::generation {

/// One prompt of a request, checked.
struct Prompt {
  std::vector<int64_t> tokens;      ///< without padding: what the model gets
  std::vector<int64_t> padded_row;  ///< as processors see it
  int64_t max_length =
      0;  ///< that the padded row may grow to, by the config and the model's context

  int64_t max_new_tokens() const { return max_length - static_cast<int64_t>(padded_row.size()); }
};

/// Checks the request and strips left padding. Throws Error naming prompt and place.
std::vector<Prompt> prepare_prompts(const GenerationRequest& request, const CausalLm& model);

}  // namespace dsv3::generation
