#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "training/event_file.h"
#include "training/trainer.h"

namespace dsv3::training {

/// A file of lines that each begin with a step's number (the first integer in them), after a header
/// if there is one. Each line is written by one call, so that a kill leaves whole lines but for the
/// last.
class StepLines {
 public:
  /// Opens or makes the file and cuts off lines of steps after `last_step` and a line without an
  /// end. Throws Error naming the file, too if it has another header.
  StepLines(std::filesystem::path path, const std::string& header, int64_t last_step);
  ~StepLines();
  StepLines(const StepLines&) = delete;
  StepLines& operator=(const StepLines&) = delete;

  /// `line` without its end.
  void add(const std::string& line);
  /// fsync.
  void sync();

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

/// A step, for the log.
struct StepRecord {
  int64_t step = 0;     ///< from 1
  int64_t tokens = 0;   ///< predicted so far, this step included
  int64_t windows = 0;  ///< of this step
  StepSettings settings;
  StepReport report;
  bool skipped = false;
  double seconds = 0;                     ///< that the step took
  double tokens_per_second = 0, mfu = 0;  ///< mfu: a fraction; 0: not known
};

/// The files of a run that people and programs read:
///   metrics.csv        a line for each step; columns that time decides about come last
///   validation.csv     a line for each validation
///   expert_load.jsonl  {"step": 10, "layers": {"1": [tokens that chose each expert], ...}}
///   samples.jsonl      {"step": 100, "prompt": ..., "text": ...}
///   events.out.tfevents...  the same for TensorBoard, a file for each start
/// All but the last and the columns of time are a function of the run's steps alone, however often
/// it was interrupted.
class RunLog {
 public:
  /// `last_step`: what the folder's files have of later steps is cut off.
  RunLog(const std::filesystem::path& folder, int64_t last_step, int64_t mtp_depths,
         const std::vector<int64_t>& moe_layers);

  void add_step(const StepRecord& record, bool with_expert_load);
  void add_validation(int64_t step, int64_t tokens, const Evaluation& evaluation);
  /// `number`: which of the run's prompts, from 1.
  void add_sample(int64_t step, int64_t number, const std::string& prompt, const std::string& text);
  void sync();

 private:
  std::vector<int64_t> moe_layers_;
  StepLines metrics_, validation_, expert_load_, samples_;
  EventFile events_;
};

/// A column of metrics.csv or validation.csv: its name and its numbers, one for each line; NaN
/// where a cell is no number.
struct Column {
  std::string name;
  std::vector<double> values;
};
/// Reads a file of numbers with a header. A last line without its end is left out. Throws Error
/// naming the file and the line if lines have different numbers of cells.
std::vector<Column> read_csv(const std::filesystem::path& path);

struct ExpertLoadRecord {
  int64_t step = 0;
  std::vector<int64_t> layers;
  std::vector<std::vector<int64_t>> loads;  ///< of each of the layers
};
std::vector<ExpertLoadRecord> read_expert_loads(const std::filesystem::path& path);

}  // namespace dsv3::training
