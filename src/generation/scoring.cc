#include "generation/scoring.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "generation/row_math.h"
#include "generation/warpers.h"

namespace dsv3::generation {
namespace {

void check_finite(std::span<const float> scores, const std::string& what) {
  for (size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] <= std::numeric_limits<float>::max()) continue;
    fail(
        "{}: the model's logit of token {} is {}: damaged weights, or numbers beyond the range of "
        "its data type",
        what, i, scores[i]);
  }
}

/// Processors that act on every kind of search.
void constrain(const GenerationConfig& c, const History& history, int64_t max_length,
               std::span<float> scores) {
  const int64_t length = static_cast<int64_t>(history.tokens.size());
  const int64_t generated = static_cast<int64_t>(history.generated().size());

  if (!c.logit_bias.empty()) add_logit_bias(scores, c.logit_bias);
  if (!c.sequence_bias.empty()) add_sequence_bias(scores, history.tokens, c.sequence_bias);
  if (c.encoder_repetition_penalty != 1) {
    penalise_repetition(scores, history.prompt(), 1 / c.encoder_repetition_penalty);
  }
  if (c.repetition_penalty != 1) penalise_repetition(scores, history.tokens, c.repetition_penalty);
  if (c.presence_penalty != 0 || c.frequency_penalty != 0) {
    penalise_frequency(scores, history.generated(), c.presence_penalty, c.frequency_penalty);
  }
  if (c.no_repeat_ngram_size > 0) {
    ban_repeated_ngrams(scores, history.tokens, history.tokens, c.no_repeat_ngram_size);
  }
  if (c.encoder_no_repeat_ngram_size > 0) {
    ban_repeated_ngrams(scores, history.tokens, history.prompt(), c.encoder_no_repeat_ngram_size);
  }
  if (!c.bad_words_ids.empty())
    ban_bad_words(scores, history.tokens, c.bad_words_ids, c.eos_token_id);
  // min_new_tokens takes min_length's place; both say the same of eos.
  const bool too_short = c.min_new_tokens ? generated < *c.min_new_tokens : length < c.min_length;
  if (too_short) ban_tokens(scores, c.eos_token_id);
  if (c.forced_bos_token_id && length == 1) force_tokens(scores, {{*c.forced_bos_token_id}});
  if (!c.forced_eos_token_id.empty() && length == max_length - 1)
    force_tokens(scores, c.forced_eos_token_id);
  if (c.remove_invalid_values) remove_invalid_values(scores);
  if (c.exponential_decay_length_penalty) {
    const auto& [start, factor] = *c.exponential_decay_length_penalty;
    if (generated > start)
      favour_eos_exponentially(scores, c.eos_token_id, generated - start, factor);
  }
  if (!c.suppress_tokens.empty()) ban_tokens(scores, c.suppress_tokens);
  if (!c.begin_suppress_tokens.empty()) {
    const bool bos_comes_first = history.prompt_width <= 1 && c.forced_bos_token_id.has_value();
    if (generated == (bos_comes_first ? 1 : 0)) ban_tokens(scores, c.begin_suppress_tokens);
  }
}

/// Warpers, which act when sampling.
void warp(const GenerationConfig& c, std::span<float> scores) {
  // Beams need a token besides the eos ids to go on with.
  const int64_t eos_ids = std::max<int64_t>(1, static_cast<int64_t>(c.eos_token_id.size()));
  const int64_t min_keep = c.num_beams > 1 ? eos_ids + 1 : 1;
  if (c.temperature != 1) warp_temperature(scores, c.temperature);
  if (c.top_h) warp_top_h(scores, *c.top_h);
  if (c.top_k > 0) warp_top_k(scores, c.top_k, min_keep);
  if (c.top_p < 1) warp_top_p(scores, c.top_p, min_keep);
  if (c.min_p) warp_min_p(scores, *c.min_p, min_keep);
  if (c.typical_p < 1) warp_typical(scores, c.typical_p, min_keep);
  if (c.epsilon_cutoff > 0) warp_epsilon(scores, c.epsilon_cutoff, min_keep);
  if (c.eta_cutoff > 0) warp_eta(scores, c.eta_cutoff, min_keep);
}

}  // namespace

void process_scores(const GenerationConfig& config, const History& history, int64_t max_length,
                    std::span<float> scores, const std::string& what) {
  if (!config.remove_invalid_values) check_finite(scores, what);
  constrain(config, history, max_length, scores);
  if (config.do_sample) warp(config, scores);
  if (config.renormalize_logits) log_softmax_in_place(scores);
}

int64_t sample_token(std::span<const float> scores, double u) {
  const Candidates c = softmax_candidates(scores);
  double total = 0;
  for (const float p : c.probabilities) total += p;
  if (!(total > 0))
    fail(
        "no token can be sampled: the generation config bans all of them, or its temperature is "
        "too low");
  double sum = 0;
  size_t last = 0;  // with a probability above 0, should rounding leave the sum below u
  for (size_t i = 0; i < c.size(); ++i) {
    if (c.probabilities[i] <= 0) continue;
    last = i;
    sum += c.probabilities[i];
    if (sum > u * total) break;
  }
  return c.tokens[last];
}

int64_t select_token(const GenerationConfig& config, std::span<const float> scores, double u) {
  return config.do_sample ? sample_token(scores, u) : argmax(scores);
}

TokenLogprobs token_logprobs(std::span<const float> logits, int64_t token, int64_t top) {
  const LogSoftmax normalise = log_softmax(logits);
  TokenLogprobs result;
  result.logprob = normalise(logits[static_cast<size_t>(token)]);
  for (const auto& [logit, id] : top_k_of(logits, top))
    result.top.emplace_back(id, normalise(logit));
  return result;
}

bool is_eos(const GenerationConfig& config, int64_t token) {
  return std::find(config.eos_token_id.begin(), config.eos_token_id.end(), token) !=
         config.eos_token_id.end();
}

}  // namespace dsv3::generation
