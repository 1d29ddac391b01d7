#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/forward_call.h"
#include "dsv3/tensor.h"

namespace dsv3::cli {

/// How two distributions over the vocabulary agree, on average over the rows.
struct LogitsAgreement {
  double top1 = 0;  ///< share of rows with the same likeliest token
  double top8 = 0;  ///< share of the expected eight likeliest tokens that are among the found eight
  double kl = 0;  ///< Kullback-Leibler divergence of the found from the expected distribution, nats
};

/// One result of a call beside what was expected.
struct Comparison {
  std::string name;
  Shape shape;
  std::string problem;   ///< why the numbers could not be compared, or ""
  int64_t compared = 0;  ///< elements; those of padding are left out
  int64_t at = -1;       ///< the element with the largest error
  double expected = 0;
  double found = 0;
  double largest_error = 0;  ///< infinite if one is not a number and the other is
  double cosine = 1;
  /// Largest |found - expected| / (atol + rtol |expected|); absent where no tolerance is known.
  std::optional<double> share_of_tolerance;
  std::optional<LogitsAgreement> logits;

  bool good() const { return problem.empty() && (!share_of_tolerance || *share_of_tolerance <= 1); }
  /// One or two lines.
  std::string to_text() const;
};

/// Compares what is in `expected` (but for `compare_mask`) with `found`. `tolerance`: {"logits":
/// {"atol", "rtol"}, ...}, where "logits" stands for "logits.0" too, or null. Integers must be
/// equal. "relative_frobenius" bounds the norm of a tensor's error too; with "outlier_atol"
/// elements may be off by that, and one more result says how many of the kind were outside of atol
/// and rtol, against "max_outlier_fraction".
std::vector<Comparison> compare(const Tensors& found, const Tensors& expected,
                                const Json& tolerance);

}  // namespace dsv3::cli
