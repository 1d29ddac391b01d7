#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace dsv3::generation {

inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// The largest score; there must be no NaN. -inf if there are none.
float largest(std::span<const float> scores);
/// Index of the largest score, the first of equals; 0 if all are -inf.
int64_t argmax(std::span<const float> scores);

/// log(sum(exp(scores))) in parts, so that log_softmax(x) = x - max - log_sum in float32, as torch
/// does.
struct LogSoftmax {
  float max = 0;
  float log_sum = 0;
  float operator()(float score) const { return score - max - log_sum; }
};
LogSoftmax log_softmax(std::span<const float> scores);
void log_softmax_in_place(std::span<float> scores);

/// The tokens that are still possible and their probabilities.
struct Candidates {
  std::vector<int64_t> tokens;  ///< with a score above -inf, in order
  std::vector<float> probabilities;
  size_t size() const { return tokens.size(); }
};
/// Softmax over scores; tokens at -inf, of probability 0, are left out.
Candidates softmax_candidates(std::span<const float> scores);

/// The k largest of n values that `value(i)` gives, largest first, the lower index first among
/// equals. O(n) for small k.
template <typename Value>
std::vector<std::pair<float, int64_t>> top_k_of(int64_t n, int64_t k, Value&& value) {
  using Item = std::pair<float, int64_t>;
  const auto better = [](const Item& a, const Item& b) {
    return a.first > b.first || (a.first == b.first && a.second < b.second);
  };
  k = std::clamp<int64_t>(k, 0, n);
  std::vector<Item> heap;  // its front is the worst of the best
  if (k == 0) return heap;
  heap.reserve(static_cast<size_t>(k));
  for (int64_t i = 0; i < k; ++i) heap.emplace_back(value(i), i);
  std::make_heap(heap.begin(), heap.end(), better);
  for (int64_t i = k; i < n; ++i) {
    const float v = value(i);
    if (!(v > heap.front().first)) continue;
    std::pop_heap(heap.begin(), heap.end(), better);
    heap.back() = {v, i};
    std::push_heap(heap.begin(), heap.end(), better);
  }
  std::sort_heap(heap.begin(), heap.end(), better);
  return heap;
}
std::vector<std::pair<float, int64_t>> top_k_of(std::span<const float> scores, int64_t k);

/// The k-th largest score (k from 1; the smallest if there are fewer).
float kth_largest(std::span<const float> scores, int64_t k);

}  // namespace dsv3::generation
