#include "training/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "base/error.h"

namespace dsv3::training {
namespace {

double learning_rate(const LearningRateSettings& s, int64_t step, int64_t steps) {
  const int64_t warm = s.warmup_until.of(steps);
  const int64_t constant = std::max(s.constant_until.of(steps), warm);
  const int64_t cosine = std::max(s.cosine_until.of(steps), constant);
  const int64_t final = s.decayed_until.value == 0 ? steps : s.decayed_until.of(steps);
  if (step < warm) return s.peak * static_cast<double>(step) / static_cast<double>(warm);
  if (step <= constant) return s.peak;
  if (step < cosine) {
    const double part =
        static_cast<double>(step - constant) / static_cast<double>(cosine - constant);
    return s.decayed + (s.peak - s.decayed) * 0.5 * (1 + std::cos(std::numbers::pi * part));
  }
  return step <= final ? s.decayed : s.final;
}

}  // namespace

StepSettings step_settings(const TrainConfig& config, int64_t step, int64_t steps) {
  const auto before = [&](const Moment& moment) {
    return moment.value == 0 || step <= moment.of(steps);
  };
  StepSettings settings;
  settings.learning_rate = learning_rate(config.learning_rate, step, steps);
  settings.bias_update_speed =
      before(config.balancing.until) ? config.balancing.bias_update_speed : 0;
  settings.balance_loss_alpha = config.balancing.loss_alpha;
  settings.mtp_loss_weight =
      before(config.mtp.until) ? config.mtp.loss_weight : config.mtp.later_loss_weight;
  return settings;
}

int64_t batch_windows(const TrainConfig& config, int64_t tokens_before) {
  const BatchSettings& b = config.batch;
  if (tokens_before >= b.ramp_tokens) return b.windows;
  const double part = static_cast<double>(tokens_before) / static_cast<double>(b.ramp_tokens);
  return b.start_windows +
         static_cast<int64_t>(static_cast<double>(b.windows - b.start_windows) * part);
}

int64_t total_steps(const TrainConfig& config) {
  if (config.tokens == 0) return config.steps;
  int64_t tokens = 0, steps = 0;
  while (tokens < config.tokens && tokens < config.batch.ramp_tokens) {
    tokens += batch_windows(config, tokens) * config.data.sequence_length;
    ++steps;
  }
  const int64_t each = config.batch.windows * config.data.sequence_length;
  const int64_t left = std::max<int64_t>(config.tokens - tokens, 0);
  return steps + left / each + (left % each != 0 ? 1 : 0);
}

void validate_schedule(const TrainConfig& config, const std::string& where) {
  const int64_t steps = total_steps(config);
  const LearningRateSettings& s = config.learning_rate;
  const struct {
    const char* name;
    const Moment& moment;
    bool may_be_unset;
  } moments[] = {{"warmup_until", s.warmup_until, false},
                 {"constant_until", s.constant_until, false},
                 {"cosine_until", s.cosine_until, false},
                 {"decayed_until", s.decayed_until, true}};
  for (size_t i = 1; i < std::size(moments); ++i) {
    const auto& [name, moment, may_be_unset] = moments[i];
    const int64_t now = moment.of(steps), last = moments[i - 1].moment.of(steps);
    if (now >= last || (may_be_unset && moment.value == 0)) continue;
    fail(
        "{}: learning_rate.{}: expected at least learning_rate.{}, which is step {}, found step {}",
        where, name, moments[i - 1].name, last, now);
  }
}

}  // namespace dsv3::training
