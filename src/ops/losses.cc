#include "ops/losses.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/elementwise/elementwise_backward.h"

namespace dsv3::ops {

double negative_log_likelihood(std::span<const float> logits, int64_t label) {
  const float maximum = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(double{x} - maximum);
  return std::log(sum) + (double{maximum} - logits[label]);
}

double cross_entropy(Matrix logits, std::span<const int64_t> labels,
                     std::optional<double> num_items) {
  if (static_cast<int64_t>(labels.size()) != logits.rows) {
    fail("cross_entropy: {} labels for {} rows of logits", labels.size(), logits.rows);
  }
  int64_t count = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] == kIgnoreIndex) continue;
    if (labels[i] < 0 || labels[i] >= logits.cols) {
      fail("label {} at index {} is outside of [0, {}) and not {}", labels[i], i, logits.cols,
           kIgnoreIndex);
    }
    ++count;
  }
  std::vector<double> losses(labels.size(), 0.0);
  thread_pool().parallel_for(logits.rows, [&](int64_t i) {
    if (labels[i] == kIgnoreIndex) return;
    losses[i] =
        negative_log_likelihood({logits.row(i), static_cast<size_t>(logits.cols)}, labels[i]);
  });
  double sum = 0;
  for (const double loss : losses) sum += loss;
  if (num_items) return sum / *num_items;
  return count == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(count);
}

double cross_entropy_backward(Matrix logits, std::span<const int64_t> labels, float factor) {
  std::vector<float> losses(labels.size(), 0.0f);
  thread_pool().parallel_for(logits.rows, [&](int64_t i) {
    if (labels[i] == kIgnoreIndex) {
      std::fill_n(logits.row(i), logits.cols, 0.0f);
    } else {
      losses[i] = kernels::cross_entropy_backward(logits.row(i), logits.cols, labels[i], factor);
    }
  });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

double cross_entropy_sum(Matrix logits, std::span<const int64_t> labels) {
  std::vector<float> losses(labels.size(), 0.0f);
  thread_pool().parallel_for(logits.rows, [&](int64_t i) {
    if (labels[i] == kIgnoreIndex) return;
    losses[i] = kernels::cross_entropy_row(logits.row(i), logits.cols, labels[i]);
  });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

double mean_squared_error(std::span<const float> x, std::span<const float> y) {
  if (x.size() != y.size())
    fail("mean_squared_error: {} values against {} labels", x.size(), y.size());
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += (double{x[i]} - y[i]) * (double{x[i]} - y[i]);
  return sum / static_cast<double>(x.size());
}

double binary_cross_entropy_with_logits(std::span<const float> x, std::span<const float> y) {
  if (x.size() != y.size())
    fail("binary_cross_entropy: {} logits against {} labels", x.size(), y.size());
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    // max(x, 0) - x y + log(1 + exp(-|x|)), which does not overflow.
    sum += std::max(double{x[i]}, 0.0) - double{x[i]} * y[i] +
           std::log1p(std::exp(-std::fabs(double{x[i]})));
  }
  return sum / static_cast<double>(x.size());
}

}  // namespace dsv3::ops
