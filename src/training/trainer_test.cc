#include "training/trainer.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;

// A training run of transformers' own (testdata/make_run.py): the initial model, int32 token ids
// [steps, rows, columns] and a table of step, loss, gradient norm, lr, MaxVio.
struct ReferenceRun {
  ReferenceRun(const fs::path& batches, const fs::path& table, int64_t rows_, int64_t columns_)
      : rows(rows_), columns(columns_) {
    std::ifstream ids(batches, std::ios::binary);
    int32_t id;
    while (ids.read(reinterpret_cast<char*>(&id), sizeof(id))) tokens.push_back(id);
    std::ifstream lines(table);
    std::string line;
    std::getline(lines, line);
    while (std::getline(lines, line)) {
      std::stringstream fields(line);
      std::vector<double>& values = curve.emplace_back();
      for (std::string field; std::getline(fields, field, ',');) values.push_back(std::stod(field));
    }
  }
  std::vector<Window> batch(size_t step) const {
    std::vector<Window> windows(rows);
    for (int64_t r = 0; r < rows; ++r) {
      const int32_t* from = tokens.data() + (static_cast<int64_t>(step) * rows + r) * columns;
      windows[r].tokens.assign(from, from + columns);
      windows[r].documents.assign(columns, 0);
    }
    return windows;
  }
  int64_t rows, columns;
  std::vector<int32_t> tokens;
  std::vector<std::vector<double>> curve;
};

double mean_violation(const StepReport& report) {
  double sum = 0;
  for (const auto& load : report.expert_load) sum += max_violation(load);
  return sum / static_cast<double>(report.expert_load.size());
}

// Follows a run; `allowed(step)`: {loss, gradient norm (relative), MaxVio}.
template <class Allowed>
void follow(const ReferenceRun& run, Trainer& trainer, Allowed&& allowed) {
  ASSERT_FALSE(run.curve.empty());
  for (size_t step = 0; step < run.curve.size(); ++step) {
    const std::vector<double>& expected = run.curve[step];
    const StepReport report =
        trainer.step(run.batch(step), {.learning_rate = expected[3], .bias_update_speed = 1e-3});
    const std::array<double, 3> bound = allowed(step);
    EXPECT_NEAR(report.loss, expected[1], bound[0]) << "step " << step;
    EXPECT_NEAR(report.grad_norm / expected[2], 1, bound[1]) << "step " << step;
    EXPECT_NEAR(mean_violation(report), expected[4], bound[2]) << "step " << step;
  }
}

const fs::path kTestData = fs::path(DSV3_SOURCE_DIR) / "src/training/testdata";
const TrainerOptions kFloat32 = {.dtype = TrainingDType::kFloat32, .torch_grad_norm = true};

TEST(TrainerTest, FollowsTransformersStepForStep) {
  const fs::path folder = kTestData / "run";
  const ReferenceRun run(folder / "batches.bin", folder / "curve.csv", 4, 33);
  Trainer trainer = Trainer::from_checkpoint(folder, 0, kFloat32);
  follow(run, trainer, [](size_t) { return std::array<double, 3>{2e-6, 2e-6, 1e-6}; });
}

// The same with a model too large to stand here: DSV3_STORIES_INIT names its folder. Rounding flips a
// near-tie of the router sooner or later, between two correct trainers from step 20 on, and from then
// on the runs part: until then they agree to the last digits.
TEST(TrainerTest, FollowsTransformersOnAStoryModel) {
  const char* folder = std::getenv("DSV3_STORIES_INIT");
  if (folder == nullptr) GTEST_SKIP() << "DSV3_STORIES_INIT is not set";
  const fs::path path = folder;
  const ReferenceRun run(path / "reference_batches.bin", path / "reference_curve.csv", 8, 257);
  Trainer trainer = Trainer::from_checkpoint(path, 0, kFloat32);
  follow(run, trainer, [](size_t step) -> std::array<double, 3> {
    if (step < 20) return {2e-6, 1e-5, 1e-6};
    return {2e-2, 1, 5e-2};
  });
}

}  // namespace
}  // namespace dsv3::training
