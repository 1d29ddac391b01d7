#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

/// What Hugging Face calls logits processors: functions that change one sequence's row of scores
/// [vocab_size] in place, in float32, given the tokens before it. They act in greedy search too.
/// Each gives what the class of transformers 5.12 named beside it gives
/// (`generation/logits_process.py`).
namespace dsv3::generation {

/// The tokens of one sequence as Hugging Face's input_ids row has them.
struct History {
  std::span<const int64_t> tokens;  ///< prompt with its left padding, then new tokens
  size_t prompt_width = 0;          ///< of the prompt, padding included

  std::span<const int64_t> prompt() const { return tokens.first(prompt_width); }
  std::span<const int64_t> generated() const { return tokens.subspan(prompt_width); }
};

using TokenSequence = std::vector<int64_t>;

/// Adds each bias to the last token of its sequence wherever the tokens before it end the history;
/// a sequence longer than the history does nothing. SequenceBiasLogitsProcessor. Of equal sequences
/// the last counts.
void add_sequence_bias(std::span<float> scores, std::span<const int64_t> history,
                       std::span<const std::pair<TokenSequence, double>> sequence_bias);

/// Bans tokens that would complete one of the sequences; a lone eos is not banned.
/// NoBadWordsLogitsProcessor.
void ban_bad_words(std::span<float> scores, std::span<const int64_t> history,
                   std::span<const TokenSequence> bad_words_ids,
                   std::span<const int64_t> eos_token_id);

/// OpenAI's logit_bias.
void add_logit_bias(std::span<float> scores, const std::map<int64_t, double>& logit_bias);

/// Divides positive scores of the tokens by `penalty` and multiplies negative ones, once for each
/// distinct token. RepetitionPenaltyLogitsProcessor, and with 1 / penalty
/// EncoderRepetitionPenaltyLogitsProcessor.
void penalise_repetition(std::span<float> scores, std::span<const int64_t> tokens, double penalty);

/// score -= frequency_penalty * count + presence_penalty * (count > 0), count among `generated`.
/// Source: OpenAI's API reference; vLLM `apply_penalties`.
void penalise_frequency(std::span<float> scores, std::span<const int64_t> generated,
                        double presence_penalty, double frequency_penalty);

/// Bans tokens that would complete an n-gram of `source` at the end of `history`.
/// NoRepeatNGramLogitsProcessor (source = history), EncoderNoRepeatNGramLogitsProcessor (source =
/// prompt).
void ban_repeated_ngrams(std::span<float> scores, std::span<const int64_t> history,
                         std::span<const int64_t> source, int64_t ngram_size);

/// Sets the tokens' scores to -inf; ids outside the vocabulary are passed over. The act of
/// MinLengthLogitsProcessor, MinNewTokensLengthLogitsProcessor and
/// SuppressTokens(AtBegin)LogitsProcessor.
void ban_tokens(std::span<float> scores, std::span<const int64_t> tokens);

/// Sets all scores to -inf but those of `tokens`, which become 0. The act of
/// ForcedBOSTokenLogitsProcessor and ForcedEOSTokenLogitsProcessor.
void force_tokens(std::span<float> scores, std::span<const int64_t> tokens);

/// NaN to 0, infinities to the largest and smallest float. InfNanRemoveLogitsProcessor.
void remove_invalid_values(std::span<float> scores);

/// Adds |score| * (factor^excess - 1) to eos, where `excess` new tokens are beyond the start.
/// ExponentialDecayLengthPenalty.
void favour_eos_exponentially(std::span<float> scores, std::span<const int64_t> eos_token_id,
                              int64_t excess, double factor);

}  // namespace dsv3::generation
