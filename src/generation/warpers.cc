#include "generation/warpers.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "generation/row_math.h"

namespace dsv3::generation {
namespace {

/// -sum p log p of candidates, in nats.
double entropy_of(const Candidates& c) {
  double entropy = 0;
  for (const float p : c.probabilities) {
    if (p > 0) entropy -= static_cast<double>(p) * std::log(static_cast<double>(p));
  }
  return entropy;
}

/// Bans candidates less likely than `threshold`, but never the min_keep highest scores.
void ban_below(std::span<float> scores, const Candidates& c, float threshold, int64_t min_keep) {
  const float kept_anyway = kth_largest(scores, min_keep);
  for (size_t i = 0; i < c.size(); ++i) {
    float& score = scores[static_cast<size_t>(c.tokens[i])];
    if (c.probabilities[i] < threshold && score < kept_anyway) score = kMinusInfinity;
  }
}

}  // namespace

void warp_temperature(std::span<float> scores, double temperature) {
  for (float& s : scores) s /= static_cast<float>(temperature);
}

void warp_top_k(std::span<float> scores, int64_t top_k, int64_t min_keep) {
  const float smallest = kth_largest(scores, std::max(top_k, min_keep));
  for (float& s : scores) {
    if (s < smallest) s = kMinusInfinity;
  }
}

void warp_top_p(std::span<float> scores, double top_p, int64_t min_keep) {
  const Candidates c = softmax_candidates(scores);
  // The reference sorts upwards, sums, and bans what the sum leaves at or below 1 - top_p. The
  // upward sum that ends in a token is the total less what is above it, so it is enough to take
  // tokens from the top until one is banned. Of equals the lower index counts as the more likely,
  // as in argmax; the order of the reference's sort is open.
  struct Item {
    float score;
    size_t index;  // in c
  };
  const auto below = [](const Item& a, const Item& b) {
    return a.score < b.score || (a.score == b.score && a.index > b.index);
  };
  std::vector<Item> heap;
  heap.reserve(c.size());
  for (size_t i = 0; i < c.size(); ++i) {
    heap.push_back({scores[static_cast<size_t>(c.tokens[i])], i});
  }
  std::make_heap(heap.begin(), heap.end(), below);

  double remaining = std::accumulate(c.probabilities.begin(), c.probabilities.end(), 0.0);
  const float banned_mass = static_cast<float>(1.0 - top_p);
  for (int64_t kept = 0; !heap.empty(); ++kept) {
    if (kept >= min_keep && static_cast<float>(remaining) <= banned_mass) break;
    std::pop_heap(heap.begin(), heap.end(), below);
    remaining -= c.probabilities[heap.back().index];
    heap.pop_back();
  }
  for (const Item& item : heap) scores[static_cast<size_t>(c.tokens[item.index])] = kMinusInfinity;
}

void warp_min_p(std::span<float> scores, double min_p, int64_t min_keep) {
  const Candidates c = softmax_candidates(scores);
  if (c.size() == 0) return;
  const float threshold =
      static_cast<float>(min_p) * *std::max_element(c.probabilities.begin(), c.probabilities.end());
  std::vector<bool> keep(scores.size());
  for (const auto& [score, token] : top_k_of(scores, min_keep))
    keep[static_cast<size_t>(token)] = true;
  for (size_t i = 0; i < c.size(); ++i) {
    const size_t token = static_cast<size_t>(c.tokens[i]);
    if (c.probabilities[i] < threshold && !keep[token]) scores[token] = kMinusInfinity;
  }
}

void warp_top_h(std::span<float> scores, double top_h) {
  constexpr int64_t kConsidered = 100;
  const auto top = top_k_of(scores, kConsidered);
  std::vector<float> top_scores;
  for (const auto& item : top) top_scores.push_back(item.first);
  const LogSoftmax normalise = log_softmax(top_scores);

  std::vector<float> terms;  // -p log p, largest p first
  double entropy = 0;
  for (const float s : top_scores) {
    const float p = std::exp(normalise(s));
    terms.push_back(p > 0 ? -p * std::log(p) : 0.0f);
    entropy += terms.back();
  }
  const float allowed = static_cast<float>(entropy) * static_cast<float>(top_h);

  std::fill(scores.begin(), scores.end(), kMinusInfinity);
  double sum = 0;
  for (size_t i = 0; i < top.size(); ++i) {
    sum += terms[i];
    if (i == 0 || static_cast<float>(sum) <= allowed)
      scores[static_cast<size_t>(top[i].second)] = top[i].first;
  }
}

void warp_typical(std::span<float> scores, double mass, int64_t min_keep) {
  const LogSoftmax normalise = log_softmax(scores);
  const Candidates c = softmax_candidates(scores);
  if (c.size() == 0) return;
  double sum = 0;
  for (const int64_t token : c.tokens) {
    const float log_p = normalise(scores[static_cast<size_t>(token)]);
    if (log_p > kMinusInfinity) sum += log_p * std::exp(log_p);
  }
  const float entropy = static_cast<float>(-sum);

  std::vector<float> distance(c.size());  // of a token's information from the entropy
  for (size_t i = 0; i < c.size(); ++i) {
    distance[i] = std::fabs(-normalise(scores[static_cast<size_t>(c.tokens[i])]) - entropy);
  }
  std::vector<size_t> order(c.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return distance[a] < distance[b]; });

  size_t last = 0;  // the token with which the sum reaches the mass
  for (double sum_p = 0; last + 1 < order.size(); ++last) {
    sum_p += c.probabilities[order[last]];
    if (!(static_cast<float>(sum_p) < static_cast<float>(mass))) break;
  }
  const float furthest = distance[order[last]];
  for (size_t rank = static_cast<size_t>(min_keep); rank < order.size(); ++rank) {
    const size_t i = order[rank];
    if (distance[i] > furthest) scores[static_cast<size_t>(c.tokens[i])] = kMinusInfinity;
  }
}

void warp_epsilon(std::span<float> scores, double epsilon, int64_t min_keep) {
  ban_below(scores, softmax_candidates(scores), static_cast<float>(epsilon), min_keep);
}

void warp_eta(std::span<float> scores, double epsilon, int64_t min_keep) {
  const Candidates c = softmax_candidates(scores);
  const float e = static_cast<float>(epsilon);
  const float eta = std::min(e, std::sqrt(e) * std::exp(static_cast<float>(-entropy_of(c))));
  ban_below(scores, c, eta, min_keep);
}

}  // namespace dsv3::generation
