#include "training/run_plots.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/file.h"
#include "dsv3/error.h"
#include "training/test_folder.h"

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;

size_t count(const std::string& text, const std::string& word) {
  size_t n = 0;
  for (size_t at = text.find(word); at != text.npos; at = text.find(word, at + 1)) ++n;
  return n;
}

void write_run(const fs::path& folder, int64_t steps, const std::vector<int64_t>& layers,
               int64_t experts) {
  RunLog log(folder, 0, 1, layers);
  for (int64_t step = 1; step <= steps; ++step) {
    StepRecord record;
    record.step = step;
    record.report.loss = 1 + 5.0 / static_cast<double>(step);
    record.report.mtp_losses = {record.report.loss + 1};
    record.report.grad_norm = 1;
    for (size_t i = 0; i < layers.size(); ++i) {
      record.report.expert_load.emplace_back(static_cast<size_t>(experts), 4);
      record.report.expert_load.back()[0] = 8;
    }
    log.add_step(record, true);
    if (step % 2 == 0) log.add_validation(step, step, {.loss = 2, .mtp_losses = {3}});
  }
}

TEST(RunPlotsTest, DrawsWhatThereIs) {
  const TestFolder run;
  write_run(run.path(), 20, {1, 2}, 8);
  const auto files = plot_run(run.path(), run / "plots");
  ASSERT_EQ(files.size(), 6u);
  for (const fs::path& file : files) EXPECT_GT(fs::file_size(file), 1000u) << file;
  const std::string loss = read_file(run / "plots/loss.svg");
  for (const char* name : {">training<", ">validation<", ">MTP 1<", ">MTP 1 validation<"})
    EXPECT_EQ(count(loss, name), 1u) << name;
  // A dot for each of 10 validations, twice, and in the legend.
  EXPECT_EQ(count(loss, "<circle"), 22u);
  const std::string experts = read_file(run / "plots/experts.svg");
  EXPECT_EQ(count(experts, ">layer 1<") + count(experts, ">layer 2<"), 2u);
  // The background, the scale, two rows of 8 experts, two maps of 8 experts by 20 steps.
  EXPECT_EQ(count(experts, "<rect"), 1u + 100 + 16 + 2 * 160);
}

TEST(RunPlotsTest, ManyLayersAndRecordsStaySmall) {
  const TestFolder run;
  std::vector<int64_t> layers;
  for (int64_t layer = 3; layer < 62; ++layer) layers.push_back(layer);
  write_run(run.path(), 300, layers, 32);
  plot_run(run.path(), run / "plots");
  EXPECT_LT(fs::file_size(run / "plots/experts.svg"), 8000000u);
  EXPECT_EQ(count(read_file(run / "plots/experts.svg"), ">layer "), 12u);
}

TEST(RunPlotsTest, ARunOfOneStepAndADenseOneAreDrawn) {
  const TestFolder one, none, dense;
  write_run(one.path(), 1, {1}, 1);
  EXPECT_EQ(plot_run(one.path(), one / "plots").size(), 6u);
  write_run(none.path(), 0, {1}, 4);
  EXPECT_EQ(plot_run(none.path(), none / "plots").size(), 4u);
  write_run(dense.path(), 3, {}, 0);
  EXPECT_EQ(plot_run(dense.path(), dense / "plots").size(), 4u);
}

TEST(RunPlotsTest, OtherFoldersAreRefused) {
  const TestFolder folder;
  EXPECT_THROW(plot_run(folder.path(), folder / "plots"), Error);
  std::ofstream(folder / "metrics.csv") << "a,b\n1,2\n";
  EXPECT_THROW(plot_run(folder.path(), folder / "plots"), Error);
  EXPECT_FALSE(fs::exists(folder / "plots"));
}

}  // namespace
}  // namespace dsv3::training
