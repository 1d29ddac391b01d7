#pragma once

#include <span>

namespace dsv3::benchmark {

/// Of the repetitions of a measurement. The quartiles and the median of an even number lie between
/// two values.
struct Summary {
  double median = 0, min = 0, max = 0, lower_quartile = 0, upper_quartile = 0, mean = 0;
  double standard_deviation = 0;  ///< of the sample (n - 1); 0 for one value
};

/// At least one value.
Summary summarize(std::span<const double> values);

}  // namespace dsv3::benchmark
