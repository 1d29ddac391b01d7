// dsv3 train: a model from a configuration and token files.

#include <fmt/format.h>
#include <signal.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "benchmark/limits.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/engine_options.h"
#include "cli/units.h"
#include "training/train_config.h"
#include "training/training_job.h"

namespace dsv3::cli {
namespace {

namespace fs = std::filesystem;
using training::StepRecord;
using training::TrainConfig;

struct TrainOptions {
  std::optional<fs::path> config;
  std::vector<std::string> settings;
  bool init = false;
  bool no_limits = false;
  EngineOptions engine;
};

int write_example(const std::optional<fs::path>& target) {
  if (!target) {
    write_out(TrainConfig::example());
    return kDone;
  }
  if (fs::exists(*target)) fail("{}: exists already; nothing is written", target->string());
  write_file_atomically(*target, TrainConfig::example());
  note(fmt::format("{}: written", target->string()));
  return kDone;
}

std::string time_left(double seconds) {
  if (seconds < 0) return "";
  if (seconds < 90) return fmt::format("  {:.0f} s left", seconds);
  if (seconds < 90 * 60) return fmt::format("  {:.0f} min left", seconds / 60);
  return fmt::format("  {:.1f} h left", seconds / 3600);
}

/// Lines on standard output for people and logs, a bar on the terminal between them.
class TrainPrinter : public training::RunObserver {
 public:
  explicit TrainPrinter(const TrainConfig& config) : config_(config) {}

  void on_step(const StepRecord& record, int64_t steps, double seconds_left) override {
    if (first_ < 0) first_ = record.step - 1;
    steps_ = steps;
    report_progress("training", record.step - first_, steps - first_);
    const bool due =
        record.step % config_.log.every == 0 || record.step == steps || record.step == first_ + 1;
    if (!due) return;
    const training::StepReport& report = record.report;
    std::string line = fmt::format("{}  loss {:.4f}", place(record.step), report.loss);
    for (const double loss : report.mtp_losses) line += fmt::format("  mtp {:.4f}", loss);
    double violation = 0;
    for (const auto& load : report.expert_load)
      violation = std::max(violation, training::max_violation(load));
    line +=
        fmt::format("  lr {:.2e}  grad {:.3f}", record.settings.learning_rate, report.grad_norm);
    if (!report.expert_load.empty()) line += fmt::format("  maxvio {:.2f}", violation);
    line += fmt::format("  {} tokens/s", with_commas(std::llround(record.tokens_per_second)));
    if (record.mfu > 0) line += fmt::format("  MFU {:.1f} %", 100 * record.mfu);
    print(line + time_left(seconds_left));
  }
  void on_validation(int64_t step, const training::Evaluation& evaluation) override {
    std::string line = fmt::format("{}  validation loss {:.4f}, perplexity {:.2f}", place(step),
                                   evaluation.loss, std::exp(evaluation.loss));
    for (const double loss : evaluation.mtp_losses) line += fmt::format(", mtp {:.4f}", loss);
    print(line);
  }
  void on_sample(int64_t step, const std::string& prompt, const std::string& text) override {
    std::string line = fmt::format("{}  \"{}{}\"", place(step), prompt, text);
    std::replace(line.begin(), line.end(), '\n', ' ');
    print(line);
  }
  void on_saved(int64_t step, double seconds) override {
    print(fmt::format("{}  saved in {:.1f} s", place(step), seconds));
  }
  void on_note(const std::string& text) override { note(text); }

 private:
  std::string place(int64_t step) const {
    const std::string all = std::to_string(std::max(steps_, step));
    return fmt::format("step {:>{}}/{}", step, all.size(), all);
  }
  static void print(const std::string& line) {
    clear_progress();
    write_out(line + "\n");
    flush_out();
  }

  const TrainConfig& config_;
  int64_t first_ = -1, steps_ = 0;
};

/// The fastest arithmetic of the numbers that the model is multiplied in.
double measure_peak() {
  report_progress("measuring the machine", 0, 1);
  const benchmark::Limits limits = benchmark::measure_limits();
  clear_progress();
  const benchmark::Peak& peak = limits.best(false);
  note(fmt::format("{} thread{}: at most {:.2f} TFLOP/s ({}), which MFU is a share of",
                   limits.threads, limits.threads == 1 ? "" : "s", peak.per_second / 1e12,
                   peak.name));
  return peak.per_second;
}

int run_train(const TrainOptions& options) {
  if (options.init) {
    if (!options.settings.empty()) throw UsageError("--init goes without --set");
    return write_example(options.config);
  }
  if (!options.config) throw UsageError("no configuration: give CONFIG, or --init to write one");
  const std::string where = options.config->string();
  TrainConfig config = TrainConfig::from_json(read_file(*options.config), where);
  for (const std::string& setting : options.settings)
    with_context("--set", [&] { config.set(setting); });
  EngineOptions engine = options.engine;
  if (engine.threads == 0) engine.threads = static_cast<int>(config.threads);
  apply_processor_options(engine);

  TrainPrinter printer(config);
  const StopGuard guard;
  const training::JobOptions job{
      .measure_peak = options.no_limits ? std::function<double()>() : measure_peak,
      .stop = [] { return stop_signal() != 0; }};
  const training::RunEnd end =
      training::train(config, where, job, printer, [&](const training::JobSummary& summary) {
        clear_progress();
        note(fmt::format("{} parameters, {} training tokens ({} windows an epoch), {} steps in {}",
                         short_count(summary.parameters), with_commas(summary.train_tokens),
                         with_commas(summary.windows_per_epoch), with_commas(summary.steps),
                         config.run));
      });
  clear_progress();
  if (end == training::RunEnd::kFinished) return kDone;
  note("stopped and saved; the same command goes on");
  return 128 + stop_signal();
}

}  // namespace

void add_train_command(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("train", "Train a model, or go on training one");
  auto options = std::make_shared<TrainOptions>();
  command->add_option("CONFIG", options->config, "the configuration; with --init what to write");
  command
      ->add_option("--set", options->settings,
                   "a field of the configuration for this start, as batch.windows=8; may be given "
                   "several times")
      ->type_name("FIELD=VALUE")
      ->expected(1)
      ->take_all();
  command->add_flag("--init", options->init,
                    "write an example of a configuration with comments to CONFIG, or to standard "
                    "output");
  command->add_flag("--no-limits", options->no_limits, "do not measure the machine: no MFU");
  add_processor_options(*command, options->engine);
  command->footer(R"(
CONFIG is JSON, with // comments if you like; `dsv3 train --init` writes one that has every field at
its default and says what it means. Token files come from `dsv3 prepare`. Everything of a run is in
its folder: checkpoints, metrics.csv, event files for TensorBoard. Started again, a run goes on from
its last checkpoint, to the same bits as if it had never been stopped. Ctrl-C and SIGTERM save and
leave. docs/TRAINING.md has more.

Examples:
  dsv3 train --init train.json
  dsv3 train train.json
  dsv3 train train.json --set run=runs/second --set learning_rate.peak=2e-3
  dsv3 plot run)");
  command->callback([options, &action] { action = [options] { return run_train(*options); }; });
}

}  // namespace dsv3::cli
