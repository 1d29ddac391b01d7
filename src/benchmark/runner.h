#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/profile.h"
#include "benchmark/cases.h"
#include "benchmark/work.h"
#include "dsv3/model.h"
#include "generation/engine_lm.h"

namespace dsv3::benchmark {

/// What came out of a case.
struct Measurement {
  Case what;
  std::vector<double> seconds;            ///< of each repetition
  Work work;                              ///< of a repetition
  int64_t passes = 0;                     ///< forward passes of a repetition
  std::optional<profile::Times> profile;  ///< of one more repetition

  /// Tokens a second of each repetition, all sequences together.
  std::vector<double> rates() const;
};

struct RunnerOptions {
  DType cache_dtype = DType::kF32;
  int64_t prefill_chunk = 512;
  int repetitions = 5;
  bool profile = false;
};

/// Times cases on one model through the engine that `generate` uses. Tokens are random, since speed
/// does not depend on them but for the experts they choose, and so are the latents that fill the
/// caches up to the depth; nothing is sampled. Each case runs once before it is timed; from that
/// run the experts are known that a repetition reads.
class Runner {
 public:
  Runner(const DeepseekV3ForCausalLM& model, const RunnerOptions& options);

  /// Throws Error if the case needs more tokens than the model's context.
  void require_room(const Case& what) const;
  /// Uses the pool's threads, whatever the case says. `progress` is called before each repetition
  /// with its number from 0 (0: the one before timing); it may throw to end the run.
  Measurement run(const Case& what, const std::function<void(int)>& progress) const;

 private:
  DeepseekV3ForCausalLM model_;
  RunnerOptions options_;
};

}  // namespace dsv3::benchmark
