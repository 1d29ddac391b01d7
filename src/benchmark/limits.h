#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dsv3::benchmark {

/// How fast the arithmetic of one kind goes when operands come from registers.
struct Peak {
  std::string name;      ///< "float32 FMA", "AMX int8"
  double per_second;     ///< operations; a multiplication and an addition are two
  bool integer = false;  ///< int8 and not floating point
};

/// What this machine can do at most with so many threads: yardsticks for a model's speed.
struct Limits {
  int threads = 1;
  double read_bytes_per_second = 0;  ///< from memory, a buffer much larger than the caches
  std::vector<Peak> peaks;           ///< those that the processor has, float32 first

  /// The fastest peak, of floating point alone unless `with_integers`.
  const Peak& best(bool with_integers) const;
};

/// Measures with the threads of the pool; the best of several tries, about a second and a gigabyte.
Limits measure_limits();

/// One of the kinds of arithmetic, as a loop to be timed.
struct PeakLoop {
  std::string name;
  bool integer;
  double operations;       ///< in an iteration
  void (*run)(int64_t n);  ///< n iterations
};
/// Those that this processor has beyond Highway's vectors: AVX-512 BF16 and VNNI, AMX.
std::vector<PeakLoop> x86_peak_loops();

}  // namespace dsv3::benchmark
