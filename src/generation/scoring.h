#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "dsv3/generation.h"
#include "generation/processors.h"

namespace dsv3::generation {

/// All that the config asks for, from a model's logits (log-probabilities in beam search) to the
/// scores from which tokens are chosen or sampled, in the order of `_get_logits_processor` of
/// transformers 5.12. `max_length`: tokens that the history may grow to, padding included. One row
/// [vocab_size], in place. Throws Error if the model gave NaN or +inf and remove_invalid_values is
/// off; `what` names the row.
void process_scores(const GenerationConfig& config, const History& history, int64_t max_length,
                    std::span<float> scores, const std::string& what);

/// Most likely token, or with do_sample one drawn with the random number `u` in [0, 1).
int64_t select_token(const GenerationConfig& config, std::span<const float> scores, double u);

/// Draws a token with probability softmax(scores): the first, in order of ids, at which the sum of
/// probabilities exceeds u.
int64_t sample_token(std::span<const float> scores, double u);

/// The log-probabilities to report of a row of the model's logits; `token` was chosen.
TokenLogprobs token_logprobs(std::span<const float> logits, int64_t token, int64_t top);

bool is_eos(const GenerationConfig& config, int64_t token);

}  // namespace dsv3::generation
