#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "training/checkpoint_store.h"
#include "training/run_log.h"
#include "training/train_config.h"
#include "training/trainer.h"
#include "training/window.h"

namespace dsv3::training {

/// What a run trains: a Trainer with a tokenizer, or something for tests that behaves like it.
class Learner {
 public:
  virtual ~Learner() = default;
  virtual StepReport step(std::span<const Window> windows, const StepSettings& settings) = 0;
  virtual Evaluation evaluate(std::span<const Window> windows) = 0;
  /// Writes all that `load` needs, and the model for other programs, into an empty folder.
  virtual void save(const std::filesystem::path& folder) = 0;
  virtual void load(const std::filesystem::path& folder) = 0;
  virtual bool can_write_text() const = 0;
  /// What the model writes after `prompt`.
  virtual std::string write_text(const std::string& prompt, const SampleSettings& settings,
                                 uint64_t seed) = 0;
};

/// What a run tells while it goes. All calls come from the thread that trains.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  /// `seconds_left`: of the whole run, as far as its speed tells; negative: too early to say.
  virtual void on_step(const StepRecord&, int64_t /*steps*/, double /*seconds_left*/) {}
  virtual void on_validation(int64_t /*step*/, const Evaluation&) {}
  virtual void on_sample(int64_t /*step*/, const std::string& /*prompt*/,
                         const std::string& /*text*/) {}
  virtual void on_saved(int64_t /*step*/, double /*seconds*/) {}
  virtual void on_note(const std::string&) {}
};

/// A run's folder: train.json (the configuration as it was last started with), the files of RunLog,
/// checkpoints/. Only one process at a time has it.
class RunFolder {
 public:
  /// Makes the folder if needed. Throws Error if another process trains in it, or if it holds files
  /// but no run.
  explicit RunFolder(std::filesystem::path path);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  CheckpointStore& checkpoints() { return *checkpoints_; }
  /// Fields that differ from the configuration that the run was started with before, as
  /// "steps: 100 before, 200 now"; then that is replaced.
  std::vector<std::string> take_config(const TrainConfig& config);

 private:
  std::filesystem::path path_;
  int lock_ = -1;
  std::unique_ptr<CheckpointStore> checkpoints_;
};

struct RunData {
  std::function<Window(int64_t number)> train;
  std::vector<Window> valid;
};

struct RunOptions {
  /// What must not change between the parts of a run (RunState::identity).
  Json identity = Json::object();
  int64_t mtp_depths = 0;
  std::vector<int64_t> moe_layers;
  double flops_per_token = 0;
  double peak_flops = 0;  ///< of the machine, a second; 0: not known
  /// Asked after each step: whether to save and leave.
  std::function<bool()> stop = [] { return false; };
};

/// Throws Error unless a run with this identity and configuration can go on from a checkpoint,
/// which `where` names: the first value in which identities differ, or too few steps.
void require_resumable(const RunState& state, const Json& identity, const TrainConfig& config,
                       const std::string& where);

enum class RunEnd : uint8_t { kFinished, kStopped };

/// Throws Error naming the first value in which they differ, with both.
void require_identity(const Json& saved, const Json& now, const std::string& where);

/// Trains from where the folder's last checkpoint is, or from the learner's beginning, to the end
/// or to a stop; saved either way. Throws Error for a step that cannot be used and may not be
/// skipped, for a disk that is full and the like; then the checkpoints that are there stay as they
/// are.
RunEnd run_training(const TrainConfig& config, RunFolder& folder, Learner& learner,
                    const RunData& data, const RunOptions& options, RunObserver& observer);

}  // namespace dsv3::training
