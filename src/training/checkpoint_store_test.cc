#include "training/checkpoint_store.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/file.h"
#include "dsv3/error.h"
#include "training/test_folder.h"

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;

RunState state(int64_t step, std::optional<double> valid_loss = {}) {
  RunState s;
  s.step = step;
  s.tokens = step * 100;
  s.next_window = step * 4;
  s.recent_losses = {1.0 / 3, 2.5};
  s.valid_loss = valid_loss;
  s.identity = {{"seed", 7}};
  return s;
}

void write_weights(const fs::path& folder) { write_file_atomically(folder / "weights", "w"); }

std::string names(const fs::path& folder) {
  std::vector<std::string> all;
  for (const auto& entry : fs::directory_iterator(folder))
    all.push_back(entry.path().filename().string());
  std::sort(all.begin(), all.end());
  std::string text;
  for (const std::string& name : all) text += name + " ";
  return text;
}

TEST(CheckpointStoreTest, StateReadsBackToTheBit) {
  const RunState before = state(3, 0.1);
  const RunState after = RunState::from_json(parse_json(before.to_json().dump(), "t"), "t");
  EXPECT_EQ(after.step, 3);
  EXPECT_EQ(after.tokens, 300);
  EXPECT_EQ(after.next_window, 12);
  EXPECT_EQ(after.recent_losses, before.recent_losses);
  EXPECT_EQ(after.valid_loss, before.valid_loss);
  EXPECT_EQ(after.identity, before.identity);
  EXPECT_FALSE(RunState::from_json(state(3).to_json(), "t").valid_loss.has_value());
  EXPECT_THROW(RunState::from_json(Json{{"step", 1}}, "t"), Error);
}

TEST(CheckpointStoreTest, KeepsTheLastAndTheBest) {
  const TestFolder folder;
  CheckpointStore store(folder / "c");
  EXPECT_FALSE(store.latest().has_value());
  const double losses[] = {3, 1, 2, 4, 5};
  for (int64_t i = 0; i < 5; ++i)
    EXPECT_TRUE(store.save(state(i + 1, losses[i]), 2, write_weights));
  EXPECT_EQ(names(folder / "c"), "best latest step-00000002 step-00000004 step-00000005 ");
  EXPECT_EQ(store.latest()->state.step, 5);
  EXPECT_EQ(store.best()->state.step, 2);
  EXPECT_EQ(fs::read_symlink(folder / "c" / "best"), "step-00000002");
  EXPECT_TRUE(fs::exists(folder / "c" / "latest" / "weights"));
  store.save(state(6, 0.5), 1, write_weights);
  store.save(state(7), 1, write_weights);  // not measured: not the best
  EXPECT_EQ(names(folder / "c"), "best latest step-00000006 step-00000007 ");
  EXPECT_FALSE(store.save(state(7), 1, [](const fs::path&) { FAIL() << "saved twice"; }));
}

TEST(CheckpointStoreTest, AFailedSaveHarmsNothing) {
  const TestFolder folder;
  CheckpointStore store(folder / "c");
  store.save(state(1), 1, write_weights);
  const auto full_disk = [](const fs::path& target) {
    write_weights(target);
    throw Error("no space left");
  };
  EXPECT_THROW(store.save(state(2), 1, full_disk), Error);
  EXPECT_EQ(names(folder / "c"), "latest step-00000001 ");
  EXPECT_TRUE(store.save(state(2), 1, write_weights));
}

TEST(CheckpointStoreTest, LeftoversOfAKilledSaveAreRemovedAndNotTakenForCheckpoints) {
  const TestFolder folder;
  { CheckpointStore(folder / "c").save(state(1), 1, write_weights); }
  const fs::path saving = folder / "c" / ".saving-step-00000002";
  const fs::path removing = folder / "c" / ".removing-step-00000000";
  for (const fs::path& path : {saving, removing}) {
    fs::create_directory(path);
    write_weights(path);
    write_file_atomically(path / "run.json", state(2).to_json().dump());
  }
  fs::create_directory_symlink("step-00000001", folder / "c" / ".saving-latest");
  fs::create_directory(folder / "c" / "step-00000009");  // its run.json was lost
  CheckpointStore store(folder / "c");
  EXPECT_EQ(names(folder / "c"), "latest step-00000001 step-00000009 ");
  EXPECT_EQ(store.latest()->state.step, 1);
  EXPECT_TRUE(fs::exists(folder / "c" / "step-00000001" / "weights"));
  EXPECT_TRUE(store.save(state(9), 5, write_weights));  // takes the damaged one's place
  EXPECT_EQ(store.latest()->state.step, 9);
}

}  // namespace
}  // namespace dsv3::training
