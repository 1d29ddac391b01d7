#include "training/trainer.h"

#include <algorithm>
#include <numeric>

namespace dsv3::training {

double max_violation(std::span<const int64_t> load) {
  const auto sum = std::accumulate(load.begin(), load.end(), int64_t{0});
  if (sum == 0) return 0;
  const double mean = static_cast<double>(sum) / static_cast<double>(load.size());
  return static_cast<double>(*std::max_element(load.begin(), load.end())) / mean - 1;
}

}  // namespace dsv3::training
