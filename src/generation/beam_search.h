#pragma once

#include <span>

#include "dsv3/generation.h"
#include "generation/causal_lm.h"
#include "generation/deadline.h"
#include "generation/prompts.h"

namespace dsv3::generation {

/// Beam search and beam sampling: `_beam_search` of transformers 5.12, in float32 as there. All
/// beams of all prompts step together; a prompt whose search has ended leaves the batch.
GenerationResult beam_search(CausalLm& model, const GenerationRequest& request,
                             std::span<const Prompt> prompts, const Deadline& deadline);

}  // namespace dsv3::generation
