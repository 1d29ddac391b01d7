#pragma once

#include <cstdint>

#include "training/train_config.h"

// What changes from step to step, as functions of the step's number, from 1, and of nothing else.
namespace dsv3::training {

/// Learning rate, gamma, alpha and lambda of step `step` of `steps`; no limit of the loss.
StepSettings step_settings(const TrainConfig& config, int64_t step, int64_t steps);
/// Windows of a step before which the run has seen so many tokens.
int64_t batch_windows(const TrainConfig& config, int64_t tokens_before);
/// Steps of the whole run: config.steps, or as many as it takes to see config.tokens.
int64_t total_steps(const TrainConfig& config);
/// Throws Error, naming `where`, unless the moments of the schedule are in order.
void validate_schedule(const TrainConfig& config, const std::string& where);

}  // namespace dsv3::training
