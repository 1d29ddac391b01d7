#include "training/run.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <set>

#include "base/file.h"
#include "dsv3/error.h"
#include "training/test_folder.h"

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;

/// Learns a number that depends on every window and setting it has seen.
class FakeLearner : public Learner {
 public:
  StepReport step(std::span<const Window> windows, const StepSettings& settings) override {
    ++calls;
    StepReport report;
    report.loss = 3 + 0.01 * static_cast<double>(weights % 7);
    for (const Window& w : windows) seen.push_back(w.tokens.front());
    const int32_t first = windows.front().tokens.front();
    report.mtp_losses = {report.loss + 1};
    report.expert_load = {{1, static_cast<int64_t>(weights % 5)}};
    report.moe_layers = {1};
    if (nan_windows.contains(first)) {
      report.not_finite = "gradient of lm_head.weight: NaN";
      report.loss = std::nan("");
      return report;
    }
    if (spike_windows.contains(first)) report.loss = 100;
    if (settings.loss_limit > 0 && report.loss > settings.loss_limit) {
      report.over_loss_limit = true;
      return report;
    }
    for (const Window& w : windows) mix(static_cast<uint64_t>(w.tokens.front()));
    mix(static_cast<uint64_t>(settings.learning_rate * 1e9));
    return report;
  }
  Evaluation evaluate(std::span<const Window> windows) override {
    return {.loss = 2 + 1e-3 * static_cast<double>(weights % 1000),
            .mtp_losses = {4},
            .tokens = static_cast<int64_t>(windows.size())};
  }
  void save(const fs::path& folder) override {
    if (disk_is_full) throw Error("no space left on device");
    write_file_atomically(folder / "weights", std::to_string(weights));
  }
  void load(const fs::path& folder) override {
    weights = std::stoull(read_file(folder / "weights"));
  }
  bool can_write_text() const override { return true; }
  std::string write_text(const std::string& prompt, const SampleSettings&, uint64_t) override {
    return prompt + std::to_string(weights % 100);
  }
  void mix(uint64_t x) { weights = (weights ^ x) * 0x9E3779B97F4A7C15u + 1; }

  uint64_t weights = 1;
  int64_t calls = 0;
  std::vector<int64_t> seen;
  std::set<int32_t> nan_windows, spike_windows;
  bool disk_is_full = false;
};

struct Notes : RunObserver {
  void on_note(const std::string& text) override { notes.push_back(text); }
  void on_saved(int64_t step, double) override { saved.push_back(step); }
  std::vector<std::string> notes;
  std::vector<int64_t> saved;
};

TrainConfig small_config() {
  TrainConfig config;
  config.steps = 20;
  config.batch = {.windows = 3};
  config.data.sequence_length = 8;
  config.validation = {.every = 5, .windows = 2};
  config.samples.every = 10;
  config.checkpoints = {.every = 4, .keep_last = 2};
  config.trouble.spike_window = 4;
  return config;
}

RunData data() {
  return {.train =
              [](int64_t number) {
                return Window{{static_cast<int32_t>(number)}, {0}};
              },
          .valid = {Window{{1}, {0}}}};
}

RunOptions options() {
  return {.identity = {{"seed", 1}, {"model", {{"hidden_size", 8}}}},
          .mtp_depths = 1,
          .moe_layers = {1},
          .flops_per_token = 10,
          .peak_flops = 1e15};
}

/// The columns that time does not decide.
std::string without_times(const fs::path& file) {
  std::string text = read_file(file), kept;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    std::string line = text.substr(begin, end - begin);
    for (int i = 0; i < 3; ++i) line.erase(line.rfind(','));
    kept += line + "\n";
    begin = end + 1;
  }
  return kept;
}

void expect_same_run(const fs::path& a, const fs::path& b) {
  EXPECT_EQ(without_times(a / "metrics.csv"), without_times(b / "metrics.csv"));
  for (const char* name : {"validation.csv", "expert_load.jsonl", "samples.jsonl",
                           "checkpoints/latest/weights", "checkpoints/latest/run.json"})
    EXPECT_EQ(read_file(a / name), read_file(b / name)) << name;
}

struct Trial {
  RunEnd run(const TrainConfig& config, int64_t stop_after = -1) {
    RunFolder folder(path.path());
    RunOptions with_stop = options();
    with_stop.stop = [&] { return learner.calls == stop_after; };
    return run_training(config, folder, learner, data(), with_stop, notes);
  }
  std::string error(const TrainConfig& config) {
    try {
      run(config);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
  TestFolder path;
  FakeLearner learner;
  Notes notes;
};

TEST(RunTest, TakesTheDataInOrderAndLogsEveryStep) {
  Trial trial;
  EXPECT_EQ(trial.run(small_config()), RunEnd::kFinished);
  ASSERT_EQ(trial.learner.seen.size(), 60u);
  for (int64_t i = 0; i < 60; ++i) EXPECT_EQ(trial.learner.seen[static_cast<size_t>(i)], i);
  const auto metrics = read_csv(trial.path / "metrics.csv");
  EXPECT_EQ(metrics[0].values.size(), 20u);
  EXPECT_EQ(metrics[1].values.back(), 20 * 3 * 8);
  EXPECT_EQ(read_csv(trial.path / "validation.csv")[0].values,
            (std::vector<double>{5, 10, 15, 20}));
  EXPECT_EQ(trial.notes.saved, (std::vector<int64_t>{4, 8, 12, 16, 20}));
}

TEST(RunTest, TheLastStepIsValidatedAndSavedWhateverTheIntervals) {
  Trial trial;
  TrainConfig config = small_config();
  config.steps = 7;
  config.validation.every = config.samples.every = config.checkpoints.every = 0;
  EXPECT_EQ(trial.run(config), RunEnd::kFinished);
  EXPECT_EQ(read_csv(trial.path / "validation.csv")[0].values, (std::vector<double>{7}));
  EXPECT_EQ(trial.notes.saved, (std::vector<int64_t>{7}));
  EXPECT_EQ(read_file(trial.path / "samples.jsonl"), "");
}

TEST(RunTest, StoppedAndStartedAgainItIsTheSameRun) {
  Trial whole;
  whole.run(small_config());
  for (const int64_t stop_after : {1, 4, 5, 10, 19}) {
    Trial parts;
    EXPECT_EQ(parts.run(small_config(), stop_after), RunEnd::kStopped);
    EXPECT_EQ(parts.notes.saved.back(), stop_after);
    parts.learner = FakeLearner();
    EXPECT_EQ(parts.run(small_config()), RunEnd::kFinished);
    EXPECT_EQ(parts.learner.calls, 20 - stop_after);
    EXPECT_EQ(parts.notes.notes.size(), 1u);
    expect_same_run(whole.path.path(), parts.path.path());
    parts.learner = FakeLearner();
    EXPECT_EQ(parts.run(small_config()), RunEnd::kFinished);  // there is nothing left to do
    EXPECT_EQ(parts.learner.calls, 0);
    expect_same_run(whole.path.path(), parts.path.path());
  }
}

TEST(RunTest, AfterAFailureItGoesOnFromTheLastCheckpoint) {
  Trial whole, parts;
  whole.run(small_config());
  struct Killed {};
  TrainConfig config = small_config();
  try {
    RunFolder folder(parts.path.path());
    RunData dying = data();
    dying.train = [](int64_t number) -> Window {
      if (number >= 3 * 10) throw Killed();  // in step 11; the last checkpoint is of step 8
      return data().train(number);
    };
    run_training(config, folder, parts.learner, dying, options(), parts.notes);
    FAIL();
  } catch (const Killed&) {
  }
  parts.learner = FakeLearner();
  parts.run(config);
  EXPECT_EQ(parts.learner.calls, 12);
  expect_same_run(whole.path.path(), parts.path.path());
}

TEST(RunTest, NotANumberStopsWithAReport) {
  Trial trial;
  trial.learner.nan_windows = {3 * 9};  // the first of step 10
  EXPECT_EQ(trial.error(small_config()),
            "step 10 (windows 27 to 29 of the training data): gradient of lm_head.weight: NaN; the "
            "last checkpoint is of step 8: " +
                (trial.path / "checkpoints" / "step-00000008").string());
  EXPECT_EQ(read_csv(trial.path / "metrics.csv")[0].values.back(), 9);
  Trial early;
  early.learner.nan_windows = {0};
  EXPECT_NE(early.error(small_config()).find("has not saved one yet"), std::string::npos);
}

TEST(RunTest, NotANumberIsSkippedIfSoConfigured) {
  Trial trial;
  trial.learner.nan_windows = {3 * 9};
  TrainConfig config = small_config();
  config.trouble.on_not_finite = OnTrouble::kSkip;
  EXPECT_EQ(trial.run(config), RunEnd::kFinished);
  EXPECT_EQ(trial.learner.calls, 20);
  const auto metrics = read_csv(trial.path / "metrics.csv");
  EXPECT_EQ(metrics[10].name, "skipped");
  for (size_t i = 0; i < 20; ++i) EXPECT_EQ(metrics[10].values[i], i == 9 ? 1 : 0);
  ASSERT_EQ(trial.notes.notes.size(), 1u);
  EXPECT_NE(trial.notes.notes[0].find("step 10"), std::string::npos);

  Trial hopeless;
  for (int32_t i = 0; i < 60; ++i) hopeless.learner.nan_windows.insert(i);
  config.trouble.most_skips = 3;
  EXPECT_NE(hopeless.error(config).find("this is skipped step 3 in a row"), std::string::npos);
  EXPECT_EQ(hopeless.learner.calls, 3);
}

TEST(RunTest, ASpikeStopsOrIsSkippedOnceThereIsAMedian) {
  TrainConfig config = small_config();
  Trial early;
  early.learner.spike_windows = {3 * 3};  // step 4: only 3 losses before it
  EXPECT_EQ(early.run(config), RunEnd::kFinished);
  Trial stopped;
  stopped.learner.spike_windows = {3 * 5};
  const std::string message = stopped.error(config);
  EXPECT_NE(
      message.find("step 6 (windows 15 to 17 of the training data): the loss, 100.0000, is 33."),
      std::string::npos)
      << message;
  Trial skipped;
  skipped.learner.spike_windows = {3 * 5};
  config.trouble.on_spike = OnTrouble::kSkip;
  EXPECT_EQ(skipped.run(config), RunEnd::kFinished);
  EXPECT_EQ(read_csv(skipped.path / "metrics.csv")[10].values[5], 1);
  Trial off;
  off.learner.spike_windows = {3 * 5};
  config.trouble.on_spike = OnTrouble::kStop;
  config.trouble.spike_factor = 0;
  EXPECT_EQ(off.run(config), RunEnd::kFinished);
}

TEST(RunTest, AFullDiskHarmsNoCheckpoint) {
  Trial whole, trial;
  whole.run(small_config());
  trial.run(small_config(), 8);
  trial.learner.disk_is_full = true;
  EXPECT_EQ(trial.error(small_config()), "no space left on device");
  trial.learner = FakeLearner();
  EXPECT_EQ(trial.run(small_config()), RunEnd::kFinished);
  EXPECT_EQ(trial.learner.calls, 12);
  expect_same_run(whole.path.path(), trial.path.path());
}

TEST(RunTest, AnotherModelsCheckpointIsRefusedWithTheField) {
  Trial trial;
  trial.run(small_config(), 4);
  RunFolder folder(trial.path.path());
  RunOptions other = options();
  other.identity["model"]["hidden_size"] = 16;
  const std::string before = read_file(trial.path / "metrics.csv");
  try {
    run_training(small_config(), folder, trial.learner, data(), other, trial.notes);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what())
                  .find("step-00000004: cannot go on with another "
                        "configuration: model.hidden_size: expected 8, found 16"),
              std::string::npos)
        << error.what();
  }
  EXPECT_EQ(read_file(trial.path / "metrics.csv"), before);
  EXPECT_THROW(require_identity(Json{{"a", 1}}, Json::object(), "t"), Error);
  EXPECT_THROW(require_identity(Json::object(), Json{{"a", 1}}, "t"), Error);
  EXPECT_NO_THROW(require_identity(Json{{"a", 1}, {"b", 2}}, Json{{"b", 2}, {"a", 1}}, "t"));
}

TEST(RunFolderTest, OneProcessAtATimeAndNoForeignFolders) {
  const TestFolder folder;
  {
    const RunFolder first(folder / "run");
    EXPECT_THROW(RunFolder(folder / "run"), Error);
  }
  EXPECT_NO_THROW(RunFolder(folder / "run"));
  fs::create_directory(folder / "photos");
  std::ofstream(folder / "photos" / "a.jpg") << "x";
  EXPECT_THROW(RunFolder(folder / "photos"), Error);
  EXPECT_FALSE(fs::exists(folder / "photos" / "lock"));
  EXPECT_THROW(RunFolder(folder / "photos" / "a.jpg"), Error);
}

TEST(RunFolderTest, SaysWhatChangedInTheConfiguration) {
  const TestFolder path;
  RunFolder folder(path / "run");
  TrainConfig config;
  EXPECT_TRUE(folder.take_config(config).empty());
  EXPECT_TRUE(folder.take_config(config).empty());
  config.steps = 5;
  config.batch.windows = 2;
  EXPECT_EQ(
      folder.take_config(config),
      (std::vector<std::string>{"steps: 1000 before, 5 now", "batch.windows: 16 before, 2 now"}));
  EXPECT_TRUE(folder.take_config(config).empty());
}

}  // namespace
}  // namespace dsv3::training
