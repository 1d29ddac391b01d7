#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "benchmark/limits.h"
#include "benchmark/runner.h"

namespace dsv3::cli {

/// The model that a measurement is of.
struct BenchModel {
  std::string name, path, type;
  int64_t bytes = 0, parameters = 0, active_parameters = 0;
  std::string cache_type, precision;
  bool integers_apply = false;  ///< products of integers are used
};

/// Of one line: what it reached, and what share of what the machine can do.
struct BenchSpeed {
  double read_per_second = 0, operations_per_second = 0;
  double read_share = 0, peak_share = 0;  ///< 0 without limits
  std::string peak_name;
};
/// `limits` may be null.
BenchSpeed speed_of(const benchmark::Measurement& m, const BenchModel& model,
                    const benchmark::Limits* limits);

/// Writes results in one of the forms, each as soon as it is there where the form allows.
class BenchReport {
 public:
  virtual ~BenchReport() = default;
  /// Before all results: all names of models and cases that will come, for the widths of columns,
  /// and the limits of each number of threads, which may be missing.
  virtual void begin(const std::vector<std::string>& models, const std::vector<std::string>& tests,
                     const std::vector<benchmark::Limits>& limits) = 0;
  virtual void add(const BenchModel& model, const benchmark::Measurement& m,
                   const benchmark::Limits* limits) = 0;
  virtual void end() = 0;
};
/// `form`: "md", "json" or "csv".
std::unique_ptr<BenchReport> bench_report(std::string_view form);

}  // namespace dsv3::cli
