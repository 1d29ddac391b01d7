#include "generation/row_math.h"

#include <array>
#include <cmath>
#include <functional>

namespace dsv3::generation {

float largest(std::span<const float> scores) {
  // Independent lanes, so that the compiler may use vector registers: a vocabulary is long.
  constexpr size_t kLanes = 32;
  std::array<float, kLanes> lanes;
  lanes.fill(kMinusInfinity);
  size_t i = 0;
  for (; i + kLanes <= scores.size(); i += kLanes) {
    for (size_t l = 0; l < kLanes; ++l) {
      lanes[l] = scores[i + l] > lanes[l] ? scores[i + l] : lanes[l];
    }
  }
  for (; i < scores.size(); ++i) lanes[0] = std::max(lanes[0], scores[i]);
  return *std::max_element(lanes.begin(), lanes.end());
}

int64_t argmax(std::span<const float> scores) {
  const auto at = std::find(scores.begin(), scores.end(), largest(scores));
  return at == scores.end() ? 0 : at - scores.begin();
}

LogSoftmax log_softmax(std::span<const float> scores) {
  LogSoftmax result;
  result.max = largest(scores);
  double sum = 0;
  for (const float s : scores) sum += std::exp(s - result.max);
  result.log_sum = std::log(static_cast<float>(sum));
  return result;
}

void log_softmax_in_place(std::span<float> scores) {
  if (largest(scores) == kMinusInfinity) return;  // nothing is possible, and stays so
  const LogSoftmax normalised = log_softmax(scores);
  for (float& s : scores) s = normalised(s);
}

Candidates softmax_candidates(std::span<const float> scores) {
  Candidates c;
  const float max = largest(scores);
  double sum = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] == kMinusInfinity) continue;
    const float e = std::exp(scores[i] - max);
    c.tokens.push_back(static_cast<int64_t>(i));
    c.probabilities.push_back(e);
    sum += e;
  }
  const float total = static_cast<float>(sum);
  for (float& p : c.probabilities) p /= total;
  return c;
}

std::vector<std::pair<float, int64_t>> top_k_of(std::span<const float> scores, int64_t k) {
  return top_k_of(static_cast<int64_t>(scores.size()), k,
                  [&](int64_t i) { return scores[static_cast<size_t>(i)]; });
}

float kth_largest(std::span<const float> scores, int64_t k) {
  constexpr int64_t kHeapPays = 256;
  k = std::min<int64_t>(k, static_cast<int64_t>(scores.size()));
  if (k <= kHeapPays) return top_k_of(scores, k).back().first;
  std::vector<float> copy(scores.begin(), scores.end());
  std::nth_element(copy.begin(), copy.begin() + (k - 1), copy.end(), std::greater<>());
  return copy[static_cast<size_t>(k - 1)];
}

}  // namespace dsv3::generation
