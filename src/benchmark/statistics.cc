#include "benchmark/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace dsv3::benchmark {
namespace {

// The value below which the share `q` of the sorted values lies, linear between neighbours.
double quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

Summary summarize(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const auto n = static_cast<double>(sorted.size());
  const double mean = std::accumulate(sorted.begin(), sorted.end(), 0.0) / n;
  double squares = 0;
  for (const double x : sorted) squares += (x - mean) * (x - mean);
  return {.median = quantile(sorted, 0.5),
          .min = sorted.front(),
          .max = sorted.back(),
          .lower_quartile = quantile(sorted, 0.25),
          .upper_quartile = quantile(sorted, 0.75),
          .mean = mean,
          .standard_deviation = sorted.size() > 1 ? std::sqrt(squares / (n - 1)) : 0};
}

}  // namespace dsv3::benchmark
