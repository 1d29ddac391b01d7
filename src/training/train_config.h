#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "training/trainer.h"

namespace dsv3::training {

/// When something changes during a run: a number of steps, or a fraction below 1 of all steps.
struct Moment {
  double value = 0;
  /// As a number of steps, of a run of so many.
  int64_t of(int64_t steps) const;
  bool operator==(const Moment&) const = default;
};

/// What a run does about a step that it cannot use.
enum class OnTrouble : uint8_t { kStop, kSkip };

struct ModelSettings {
  std::string config = "config.json", checkpoint, tokenizer;
  bool operator==(const ModelSettings&) const = default;
};
struct DataSettings {
  std::vector<std::string> train = {"data/train"}, valid = {"data/valid"};
  int64_t sequence_length = 256;
  bool shuffle = true;
  bool attention_across_documents = true;
  bool operator==(const DataSettings&) const = default;
};
struct BatchSettings {
  int64_t windows = 16, start_windows = 0, ramp_tokens = 0, micro_windows = 0;
  bool operator==(const BatchSettings&) const = default;
};
struct LearningRateSettings {
  double peak = 1e-3, decayed = 1e-4, final = 3.3e-5;
  Moment warmup_until{0.01}, constant_until{0.676}, cosine_until{0.966}, decayed_until{0.989};
  bool operator==(const LearningRateSettings&) const = default;
};
struct OptimizerSettings {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0.1;
  bool decay_vectors = false;
  double max_grad_norm = 1;
  bool torch_grad_norm = false;
  bool operator==(const OptimizerSettings&) const = default;
};
struct BalancingSettings {
  double bias_update_speed = 1e-3;
  Moment until{0.966};
  double loss_alpha = 1e-4;
  bool operator==(const BalancingSettings&) const = default;
};
struct MtpSettings {
  double loss_weight = 0.3, later_loss_weight = 0.1;
  Moment until{0.676};
  bool operator==(const MtpSettings&) const = default;
};
struct LogSettings {
  int64_t every = 10, expert_load_every = 10;
  bool operator==(const LogSettings&) const = default;
};
struct ValidationSettings {
  int64_t every = 100, windows = 64;
  bool operator==(const ValidationSettings&) const = default;
};
struct SampleSettings {
  int64_t every = 200;
  std::vector<std::string> prompts = {"Once upon a time"};
  int64_t tokens = 64;
  double temperature = 0.7;
  bool operator==(const SampleSettings&) const = default;
};
struct CheckpointSettings {
  int64_t every = 200, keep_last = 2;
  bool operator==(const CheckpointSettings&) const = default;
};
struct TroubleSettings {
  OnTrouble on_not_finite = OnTrouble::kStop, on_spike = OnTrouble::kStop;
  double spike_factor = 3;
  int64_t spike_window = 50, most_skips = 10;
  bool operator==(const TroubleSettings&) const = default;
};

/// All that `dsv3 train` is told, as its JSON has it: `data.train` here is "train" in the object
/// "data" there. What each means and which values it takes is said once, in train_config.cc. What
/// changes during a run does so where the report's training did (4.2), as fractions of the run.
struct TrainConfig {
  std::string run = "run";
  int64_t steps = 1000, tokens = 0;
  int64_t seed = 0;
  int64_t threads = 0;
  TrainingDType dtype = TrainingDType::kBFloat16;
  bool recompute = false;
  ModelSettings model;
  DataSettings data;
  BatchSettings batch;
  LearningRateSettings learning_rate;
  OptimizerSettings optimizer;
  BalancingSettings balancing;
  MtpSettings mtp;
  LogSettings log;
  ValidationSettings validation;
  SampleSettings samples;
  CheckpointSettings checkpoints;
  TroubleSettings trouble;

  /// Reads JSON that may have // and /* */ comments; what is missing keeps its default. Throws
  /// Error naming `where` (the file) and the field: for a field that does not exist, a value of
  /// another type or out of its range. What fields mean together is judged by `validate`.
  static TrainConfig from_json(const std::string& text, const std::string& where);
  /// One "field=value", as of the command line: batch.windows=8. Text needs no quotation marks, and
  /// a list of one element no brackets. Throws Error as from_json does.
  void set(const std::string& assignment);
  /// Throws Error, naming `where`, for values that contradict one another and for files that are
  /// not there.
  void validate(const std::string& where) const;

  /// With every field, in the order of the struct.
  Json to_json() const;
  /// A file with every field at its default and a comment on each.
  static std::string example();
  /// Of every field: "batch.windows".
  static std::vector<std::string> field_names();

  TrainerOptions trainer_options() const;
  bool operator==(const TrainConfig&) const = default;
};

}  // namespace dsv3::training
