#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "tensor/matrix.h"

namespace dsv3::ops {

/// The label that is left out of a cross-entropy.
inline constexpr int64_t kIgnoreIndex = -100;

/// Mean over rows with label != -100 of -log softmax(logits)[label], natural logarithm; with
/// num_items the sum divided by it. NaN if every label is -100 and num_items is not given, as in
/// torch. Throws Error for a label outside of [0, cols). Source: torch cross_entropy, transformers
/// fixed_cross_entropy.
double cross_entropy(Matrix logits, std::span<const int64_t> labels,
                     std::optional<double> num_items = {});
/// The sum over rows with label != -100 of -log softmax(logits)[label]; overwrites logits with
/// `factor` times the sum's gradient (0 in rows left out). In float32, for training.
double cross_entropy_backward(Matrix logits, std::span<const int64_t> labels, float factor);
/// That sum alone, in the same numbers.
double cross_entropy_sum(Matrix logits, std::span<const int64_t> labels);
/// -log softmax(logits)[label] of one row.
double negative_log_likelihood(std::span<const float> logits, int64_t label);
/// Mean of (x - y)^2.
double mean_squared_error(std::span<const float> x, std::span<const float> y);
/// Mean over all elements of the binary cross-entropy of sigmoid(x) with target y.
double binary_cross_entropy_with_logits(std::span<const float> x, std::span<const float> y);

}  // namespace dsv3::ops
