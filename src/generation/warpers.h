#pragma once

#include <cstdint>
#include <span>

/// What Hugging Face once called logits warpers: they shape one row of scores [vocab_size] in place
/// before a token is sampled from it, most of them by setting unlikely tokens to -inf. All keep at
/// least `min_keep` of the most likely tokens. Each gives what the class of transformers 5.12 of
/// the same name gives.
namespace dsv3::generation {

/// scores / temperature.
void warp_temperature(std::span<float> scores, double temperature);

/// Keeps the top_k largest scores and all that equal the smallest of them.
void warp_top_k(std::span<float> scores, int64_t top_k, int64_t min_keep = 1);

/// Keeps the smallest set of most likely tokens whose probabilities add up to top_p or more.
void warp_top_p(std::span<float> scores, double top_p, int64_t min_keep = 1);

/// Keeps tokens at least min_p times as likely as the most likely one.
void warp_min_p(std::span<float> scores, double min_p, int64_t min_keep = 1);

/// Of the 100 most likely tokens, keeps as many as have together at most top_h of the 100's
/// entropy.
void warp_top_h(std::span<float> scores, double top_h);

/// Keeps the tokens whose information is nearest to the entropy, with probability `mass` together
/// (locally typical sampling, arXiv:2202.00666).
void warp_typical(std::span<float> scores, double mass, int64_t min_keep = 1);

/// Keeps tokens with a probability of at least epsilon (arXiv:2210.15191).
void warp_epsilon(std::span<float> scores, double epsilon, int64_t min_keep = 1);

/// The same with min(epsilon, sqrt(epsilon) * exp(-entropy)).
void warp_eta(std::span<float> scores, double epsilon, int64_t min_keep = 1);

}  // namespace dsv3::generation
