#include "training/run.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "training/schedule.h"

namespace dsv3::training {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

class Run {
 public:
  Run(const TrainConfig& config, RunFolder& folder, Learner& learner, const RunData& data,
      const RunOptions& options, RunObserver& observer)
      : config_(config),
        folder_(folder),
        learner_(learner),
        data_(data),
        options_(options),
        observer_(observer),
        steps_(total_steps(config)),
        state_(resume()),
        log_(folder.path(), state_.step, options.mtp_depths, options.moe_layers) {}

  RunEnd run() {
    begin_ = Clock::now();
    first_step_ = state_.step;
    while (state_.step < steps_) {
      step();
      if (is_due(config_.validation.every)) validate();
      if (is_due(config_.samples.every)) write_samples();
      const bool stop = options_.stop();
      if (stop || is_due(config_.checkpoints.every)) save();
      if (stop && state_.step < steps_) return RunEnd::kStopped;
    }
    if (!state_.valid_loss && first_step_ < steps_) validate();
    save();
    return RunEnd::kFinished;
  }

 private:
  RunState resume() {
    RunState fresh;
    fresh.identity = options_.identity;
    const auto latest = folder_.checkpoints().latest();
    if (!latest) return fresh;
    require_resumable(latest->state, options_.identity, config_, latest->folder.string());
    learner_.load(latest->folder);
    observer_.on_note(latest->state.step == steps_
                          ? fmt::format("the run is finished; all {} steps were done", steps_)
                          : fmt::format("going on after step {} of {}, from {}", latest->state.step,
                                        steps_, latest->folder.string()));
    return latest->state;
  }

  bool is_due(int64_t every) const { return every > 0 && state_.step % every == 0; }

  /// Above it a loss is a spike; 0: nothing is.
  double loss_limit() const {
    const auto& losses = state_.recent_losses;
    if (static_cast<int64_t>(losses.size()) < config_.trouble.spike_window) return 0;
    return config_.trouble.spike_factor * median(losses);
  }

  void step() {
    const auto begin = Clock::now();
    StepRecord record;
    record.step = state_.step + 1;
    record.windows = batch_windows(config_, state_.tokens);
    record.settings = step_settings(config_, record.step, steps_);
    record.settings.loss_limit = loss_limit();
    std::vector<Window> windows;
    for (int64_t i = 0; i < record.windows; ++i)
      windows.push_back(data_.train(state_.next_window + i));

    record.report = learner_.step(windows, record.settings);
    const StepReport& report = record.report;
    const std::string trouble = trouble_of(record);
    record.skipped = !trouble.empty();
    if (record.skipped) {
      give_up_or_skip(trouble, report.not_finite.empty() ? config_.trouble.on_spike
                                                         : config_.trouble.on_not_finite);
    } else {
      state_.skips = 0;
      state_.recent_losses.push_back(report.loss);
      if (static_cast<int64_t>(state_.recent_losses.size()) > config_.trouble.spike_window)
        state_.recent_losses.erase(state_.recent_losses.begin());
    }

    const int64_t tokens = record.windows * config_.data.sequence_length;
    state_.step = record.step;
    state_.tokens += tokens;
    state_.next_window += record.windows;
    state_.valid_loss.reset();
    record.tokens = state_.tokens;
    record.seconds = seconds_since(begin);
    record.tokens_per_second = static_cast<double>(tokens) / record.seconds;
    if (options_.peak_flops > 0)
      record.mfu = options_.flops_per_token * record.tokens_per_second / options_.peak_flops;
    log_.add_step(record, is_due(config_.log.expert_load_every));
    observer_.on_step(record, steps_, seconds_left());
  }

  /// "step 12: ...", or nothing if the step is as it should be.
  std::string trouble_of(const StepRecord& record) const {
    const StepReport& report = record.report;
    std::string what;
    if (!report.not_finite.empty()) {
      what = report.not_finite;
    } else if (report.over_loss_limit) {
      what =
          fmt::format("the loss, {:.4f}, is {:.1f} times the median of the last {} losses, {:.4f}",
                      report.loss, report.loss / median(state_.recent_losses),
                      state_.recent_losses.size(), median(state_.recent_losses));
    } else {
      return "";
    }
    return fmt::format("step {} (windows {} to {} of the training data): {}", record.step,
                       state_.next_window, state_.next_window + record.windows - 1, what);
  }

  void give_up_or_skip(const std::string& trouble, OnTrouble what) {
    ++state_.skips;
    const bool too_many = what == OnTrouble::kSkip && state_.skips >= config_.trouble.most_skips;
    if (what == OnTrouble::kSkip && !too_many) {
      observer_.on_note(trouble + "; skipped");
      return;
    }
    const auto latest = folder_.checkpoints().latest();
    fail("{}{}; the last checkpoint is {}", trouble,
         too_many ? fmt::format("; this is skipped step {} in a row", state_.skips) : "",
         latest ? fmt::format("of step {}: {}", latest->state.step, latest->folder.string())
                : "none: the run has not saved one yet");
  }

  double seconds_left() const {
    const auto done = static_cast<double>(state_.step - first_step_);
    if (done < 2) return -1;
    return seconds_since(begin_) / done * static_cast<double>(steps_ - state_.step);
  }

  void validate() {
    if (data_.valid.empty()) return;
    const Evaluation evaluation = learner_.evaluate(data_.valid);
    state_.valid_loss = evaluation.loss;
    log_.add_validation(state_.step, state_.tokens, evaluation);
    observer_.on_validation(state_.step, evaluation);
  }

  void write_samples() {
    if (!learner_.can_write_text()) return;
    int64_t number = 0;
    for (const std::string& prompt : config_.samples.prompts) {
      const std::string text =
          learner_.write_text(prompt, config_.samples, static_cast<uint64_t>(config_.seed));
      log_.add_sample(state_.step, ++number, prompt, text);
      observer_.on_sample(state_.step, prompt, text);
    }
  }

  void save() {
    const auto begin = Clock::now();
    log_.sync();
    const bool saved = folder_.checkpoints().save(
        state_, config_.checkpoints.keep_last,
        [&](const std::filesystem::path& target) { learner_.save(target); });
    if (saved) observer_.on_saved(state_.step, seconds_since(begin));
  }

  const TrainConfig& config_;
  RunFolder& folder_;
  Learner& learner_;
  const RunData& data_;
  const RunOptions& options_;
  RunObserver& observer_;
  int64_t steps_;
  RunState state_;
  RunLog log_;
  Clock::time_point begin_;
  int64_t first_step_ = 0;
};

}  // namespace

void require_resumable(const RunState& state, const Json& identity, const TrainConfig& config,
                       const std::string& where) {
  require_identity(state.identity, identity, where);
  const int64_t steps = total_steps(config);
  if (state.step <= steps) return;
  fail("{}: the run is at step {} already: expected at least as many steps, found {}", where,
       state.step, steps);
}

RunEnd run_training(const TrainConfig& config, RunFolder& folder, Learner& learner,
                    const RunData& data, const RunOptions& options, RunObserver& observer) {
  return Run(config, folder, learner, data, options, observer).run();
}

}  // namespace dsv3::training
