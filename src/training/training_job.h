#pragma once

#include <functional>
#include <string>

#include "training/run.h"

namespace dsv3::training {

struct JobOptions {
  /// Operations a second that the machine can do at most; called once, before the first step.
  /// Unset: not known.
  std::function<double()> measure_peak;
  std::function<bool()> stop = [] { return false; };
};

/// What a job has found before its first step.
struct JobSummary {
  int64_t parameters = 0, train_tokens = 0, windows_per_epoch = 0, steps = 0;
};

/// All of `dsv3 train`: opens data, tokenizer and the run's folder, makes the model or takes it up
/// from a checkpoint, and trains. What is wrong with the configuration or its files is said before
/// the folder is touched; `where` is what messages call the configuration.
RunEnd train(const TrainConfig& config, const std::string& where, const JobOptions& options,
             RunObserver& observer, const std::function<void(const JobSummary&)>& on_start = {});

}  // namespace dsv3::training
