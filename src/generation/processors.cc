#include "generation/processors.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/error.h"
#include "generation/row_math.h"

namespace dsv3::generation {
namespace {

float& score_of(std::span<float> scores, int64_t token, const char* what) {
  if (token < 0 || token >= static_cast<int64_t>(scores.size())) {
    fail("{}: token {} is outside the vocabulary of {}", what, token, scores.size());
  }
  return scores[static_cast<size_t>(token)];
}

/// Whether `sequence` without its last token ends the history. Hugging Face passes over sequences
/// that are longer than the history, even where all but the last token would fit.
bool may_complete(std::span<const int64_t> history, const TokenSequence& sequence) {
  if (sequence.size() == 1) return true;
  if (sequence.size() > history.size()) return false;
  return std::equal(sequence.begin(), sequence.end() - 1, history.end() - (sequence.size() - 1));
}

}  // namespace

void add_sequence_bias(std::span<float> scores, std::span<const int64_t> history,
                       std::span<const std::pair<TokenSequence, double>> sequence_bias) {
  // Biases of one token are summed before they meet the score: that is how the reference rounds.
  std::map<int64_t, float> sum;
  for (size_t i = 0; i < sequence_bias.size(); ++i) {
    const auto& sequence = sequence_bias[i].first;
    const auto& bias = sequence_bias[i].second;
    for (const int64_t token : sequence) score_of(scores, token, "sequence_bias");
    const bool replaced = std::any_of(sequence_bias.begin() + i + 1, sequence_bias.end(),
                                      [&](const auto& later) { return later.first == sequence; });
    if (!replaced && may_complete(history, sequence))
      sum[sequence.back()] += static_cast<float>(bias);
  }
  for (const auto& [token, bias] : sum) scores[static_cast<size_t>(token)] += bias;
}

void ban_bad_words(std::span<float> scores, std::span<const int64_t> history,
                   std::span<const TokenSequence> bad_words_ids,
                   std::span<const int64_t> eos_token_id) {
  for (const TokenSequence& sequence : bad_words_ids) {
    for (const int64_t token : sequence) score_of(scores, token, "bad_words_ids");
    const bool is_eos = sequence.size() == 1 && std::find(eos_token_id.begin(), eos_token_id.end(),
                                                          sequence[0]) != eos_token_id.end();
    if (is_eos || !may_complete(history, sequence)) continue;
    scores[static_cast<size_t>(sequence.back())] = kMinusInfinity;
  }
}

void add_logit_bias(std::span<float> scores, const std::map<int64_t, double>& logit_bias) {
  for (const auto& [token, bias] : logit_bias) {
    score_of(scores, token, "logit_bias") += static_cast<float>(bias);
  }
}

void penalise_repetition(std::span<float> scores, std::span<const int64_t> tokens, double penalty) {
  const float factor = static_cast<float>(penalty);
  std::vector<float> penalised(tokens.size());  // all computed before any is stored: tokens repeat
  for (size_t i = 0; i < tokens.size(); ++i) {
    const float score = scores[static_cast<size_t>(tokens[i])];
    penalised[i] = score < 0 ? score * factor : score / factor;
  }
  for (size_t i = 0; i < tokens.size(); ++i) scores[static_cast<size_t>(tokens[i])] = penalised[i];
}

void penalise_frequency(std::span<float> scores, std::span<const int64_t> generated,
                        double presence_penalty, double frequency_penalty) {
  std::unordered_map<int64_t, int64_t> counts;
  for (const int64_t token : generated) ++counts[token];
  for (const auto& [token, count] : counts) {
    float& score = scores[static_cast<size_t>(token)];
    score -= static_cast<float>(frequency_penalty) * static_cast<float>(count);
    score -= static_cast<float>(presence_penalty);
  }
}

void ban_repeated_ngrams(std::span<float> scores, std::span<const int64_t> history,
                         std::span<const int64_t> source, int64_t ngram_size) {
  const size_t n = static_cast<size_t>(ngram_size), prefix = n - 1;
  if (history.size() < prefix || source.size() < n) return;
  const auto last = history.last(prefix);
  for (size_t i = 0; i + n <= source.size(); ++i) {
    if (!std::equal(last.begin(), last.end(), source.begin() + i)) continue;
    scores[static_cast<size_t>(source[i + prefix])] = kMinusInfinity;
  }
}

void ban_tokens(std::span<float> scores, std::span<const int64_t> tokens) {
  for (const int64_t token : tokens) {
    if (token < 0 || token >= static_cast<int64_t>(scores.size())) continue;
    scores[static_cast<size_t>(token)] = kMinusInfinity;
  }
}

void force_tokens(std::span<float> scores, std::span<const int64_t> tokens) {
  std::fill(scores.begin(), scores.end(), kMinusInfinity);
  for (const int64_t token : tokens) score_of(scores, token, "forced token") = 0;
}

void remove_invalid_values(std::span<float> scores) {
  for (float& s : scores) {
    if (std::isnan(s)) s = 0;
    s = std::clamp(s, std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max());
  }
}

void favour_eos_exponentially(std::span<float> scores, std::span<const int64_t> eos_token_id,
                              int64_t excess, double factor) {
  const float growth = static_cast<float>(std::pow(factor, static_cast<double>(excess)) - 1);
  std::vector<int64_t> seen;
  for (const int64_t token : eos_token_id) {
    if (std::find(seen.begin(), seen.end(), token) != seen.end()) continue;
    seen.push_back(token);
    float& score = score_of(scores, token, "eos_token_id");
    if (score != kMinusInfinity) score += std::fabs(score) * growth;  // else NaN, there
  }
}

}  // namespace dsv3::generation
