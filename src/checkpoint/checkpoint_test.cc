#include "checkpoint/checkpoint.h"

#include <chrono>
#include <set>

#include "base/json.h"
#include "checkpoint/names.h"
#include "checkpoint/test_files.h"

namespace dsv3 {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = DSV3_SOURCE_DIR;

std::set<std::string> files_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

/// Two layers of weights in FP8 with their scales, and a norm: 2 * (64 + 16) + 8 bytes.
std::vector<NamedTensor> some_tensors(unsigned seed = 3) {
  std::mt19937 random(seed);
  std::vector<NamedTensor> all;
  for (const char* layer : {"layers.0.", "layers.1."}) {
    all.push_back({std::string(layer) + "weight", random_tensor(DType::kF8E4M3, {8, 8}, random)});
    all.push_back(
        {std::string(layer) + "weight_scale_inv", random_tensor(DType::kF32, {2, 2}, random)});
  }
  all.push_back({"norm.weight", random_tensor(DType::kBF16, {4}, random)});
  return all;
}

void expect_holds(const Checkpoint& c, const std::vector<NamedTensor>& tensors) {
  EXPECT_EQ(c.names().size(), tensors.size());
  EXPECT_TRUE(std::is_sorted(c.names().begin(), c.names().end()));
  uint64_t bytes = 0;
  for (const NamedTensor& t : tensors) {
    SCOPED_TRACE(t.name);
    expect_same(c.tensor(t.name), t.tensor);
    bytes += t.tensor.bytes();
  }
  EXPECT_EQ(c.total_bytes(), bytes);
}

void expect_holds(const fs::path& path, const std::vector<NamedTensor>& tensors) {
  expect_holds(Checkpoint::open(path), tensors);
}

TEST(CheckpointTest, GoldenFoldersOpen) {
  const Checkpoint single = Checkpoint::open(kSource / "models/stories");
  EXPECT_TRUE(single.contains("model.embed_tokens.weight"));
  EXPECT_EQ(single.find("model.embed_tokens.weight")->shape, (Shape{4096, 256}));

  const Checkpoint sharded = Checkpoint::open(kSource / "tests/golden/bf16_sharded/model");
  EXPECT_EQ(sharded.shards().size(), 7u);
  const auto index = read_json_file(kSource / "tests/golden/bf16_sharded/model" / kIndexName);
  EXPECT_EQ(sharded.total_bytes(), index["metadata"]["total_size"].get<uint64_t>());
  EXPECT_EQ(sharded.names().size(), index["weight_map"].size());
  for (const std::string& name : sharded.names()) {
    EXPECT_EQ(sharded.find(name)->shard, index["weight_map"][name]);
    EXPECT_EQ(sharded.tensor(name).shape(), sharded.find(name)->shape);
  }
}

TEST(CheckpointTest, OneShardIsOneFileWithoutAnIndex) {
  TemporaryFolder folder;
  const auto tensors = some_tensors();
  save_checkpoint(folder / "new/model", tensors);
  EXPECT_EQ(files_in(folder / "new/model"), (std::set<std::string>{"model.safetensors"}));
  expect_holds(folder / "new/model", tensors);
  expect_holds(folder / "new/model/model.safetensors", tensors);
}

TEST(CheckpointTest, ShardsSplitBetweenAWeightAndItsScale) {
  TemporaryFolder folder;
  const auto tensors = some_tensors();
  save_checkpoint(folder.path(), tensors, {.max_shard_bytes = 64});
  EXPECT_EQ(
      files_in(folder.path()),
      (std::set<std::string>{"model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors",
                             "model-00003-of-00004.safetensors", "model-00004-of-00004.safetensors",
                             "model.safetensors.index.json"}));
  const Checkpoint c = Checkpoint::open(folder.path());
  expect_holds(c, tensors);
  EXPECT_NE(c.find("layers.0.weight")->shard, c.find("layers.0.weight_scale_inv")->shard);
  const Json index = read_json_file(folder / kIndexName);
  EXPECT_EQ(index["metadata"]["total_size"], 168);
  EXPECT_EQ(index["weight_map"]["layers.0.weight"], "model-00001-of-00004.safetensors");
  EXPECT_EQ(SafetensorsFile::open(c.shards()[0]->path())->metadata().at("format"), "pt");
}

TEST(CheckpointTest, HeaderOnlyModeKnowsShapes) {
  TemporaryFolder folder;
  save_checkpoint(folder.path(), some_tensors(), {.max_shard_bytes = 64});
  const Checkpoint c = Checkpoint::open(folder.path(), Checkpoint::Mode::kHeaderOnly);
  EXPECT_EQ(c.total_bytes(), 168u);
  EXPECT_EQ(c.find("layers.1.weight")->dtype, DType::kF8E4M3);
  EXPECT_EQ(c.find("nothing"), std::nullopt);
  expect_error([&] { c.tensor("norm.weight"); }, {"norm.weight", "header"});
  expect_error([&] { c.tensor("nothing"); }, {"nothing"});
}

TEST(CheckpointTest, AllMissingShardsAreListed) {
  TemporaryFolder folder;
  save_checkpoint(folder.path(), some_tensors(), {.max_shard_bytes = 64});
  fs::remove(folder / "model-00002-of-00004.safetensors");
  fs::remove(folder / "model-00004-of-00004.safetensors");
  for (const auto mode : {Checkpoint::Mode::kMapped, Checkpoint::Mode::kHeaderOnly}) {
    expect_error(
        [&] { Checkpoint::open(folder.path(), mode); },
        {"2 of 4", "model-00002-of-00004.safetensors", "model-00004-of-00004.safetensors"});
  }
}

TEST(CheckpointTest, TruncatedShardsAreRefusedInBothModes) {
  TemporaryFolder folder;
  save_checkpoint(folder.path(), some_tensors(), {.max_shard_bytes = 64});
  const fs::path shard = folder / "model-00003-of-00004.safetensors";
  fs::resize_file(shard, fs::file_size(shard) - 1);
  for (const auto mode : {Checkpoint::Mode::kMapped, Checkpoint::Mode::kHeaderOnly}) {
    expect_error([&] { Checkpoint::open(folder.path(), mode); },
                 {"model-00003-of-00004.safetensors", "truncated"});
  }
}

TEST(CheckpointTest, IndexAndShardsMustAgree) {
  TemporaryFolder folder;
  save_checkpoint(folder.path(), some_tensors(), {.max_shard_bytes = 64});
  const fs::path path = folder / kIndexName;
  const Json good = read_json_file(path);
  const auto expect_refused = [&](const std::string& text,
                                  std::initializer_list<const char*> parts) {
    write_bytes(path, text);
    expect_error([&] { Checkpoint::open(folder.path()); }, parts);
    expect_error([&] { Checkpoint::open(folder.path()); }, {kIndexName});
  };
  Json bad = good;
  bad["weight_map"]["layers.0.weight"] = "model-00004-of-00004.safetensors";
  expect_refused(bad.dump(), {"1 tensors", "'layers.0.weight'", "model-00004"});
  bad = good;
  bad["weight_map"]["norm.weight"] = "../norm.safetensors";
  expect_refused(bad.dump(), {"norm.weight", "../norm.safetensors", "file name"});
  bad["weight_map"]["norm.weight"] = 3;
  expect_refused(bad.dump(), {"norm.weight", "number"});
  bad["weight_map"]["norm.weight"] = Json::array({"a"});
  expect_refused(bad.dump(), {"norm.weight", "list"});
  bad["weight_map"]["norm.weight"] = Json::object();
  expect_refused(bad.dump(), {"norm.weight", "object"});
  expect_refused(R"({"weight_map": 1})", {"weight_map", "number"});
  expect_refused(R"({"weight_map": ["a"]})", {"weight_map", "list"});
  expect_refused(R"({"weight_map": {}})", {"weight_map", "empty"});
  expect_refused(R"({"metadata": {"weight_map": {"a": "b"}}})", {"no weight_map"});
  expect_refused(R"({"weight_map": {"a": "b", "a": "c"}})", {"'a'", "twice"});
  expect_refused("[1]", {"object", "list"});
  expect_refused("", {"not valid JSON"});
  expect_refused(good.dump().substr(0, 50), {"not valid JSON"});
  bad = good;
  bad["metadata"]["notes"] = Json::parse(R"([1, [2, {"weight_map": null}], -1, 1.5, true])");
  write_bytes(path, bad.dump());
  expect_holds(folder.path(), some_tensors());
}

TEST(CheckpointTest, FoldersWithoutSafetensorsSayWhatTheyHold) {
  TemporaryFolder folder;
  const auto open = [&] { Checkpoint::open(folder.path()); };
  expect_error([&] { Checkpoint::open(folder / "absent"); }, {"absent", "no such file or folder"});
  expect_error(open, {"model.safetensors", "index.json", "no weights"});
  write_bytes(folder / "pytorch_model.bin", "x");
  write_bytes(folder / "model.ckpt", "x");
  expect_error(open, {"model.safetensors", "pytorch_model.bin", "model.ckpt", "other formats"});
  write_bytes(folder / "q4.gguf", "x");
  expect_error(open, {"found q4.gguf; to open a GGUF file, give its own path"});
  write_bytes(folder / "adapter.safetensors", "x");
  expect_error(open, {"adapter.safetensors", "own path"});
  write_bytes(folder / "model-00001-of-00002.safetensors", "x");
  expect_error(open, {"model-00001-of-00002.safetensors", "index", "not complete"});
}

TEST(CheckpointWriterTest, TensorsMayComeInAnyOrder) {
  TemporaryFolder folder;
  const auto tensors = some_tensors();
  std::vector<TensorPlan> plan;
  for (const auto& t : tensors) plan.push_back({t.name, t.tensor.dtype(), t.tensor.shape()});
  CheckpointWriter writer(folder.path(), plan, {.max_shard_bytes = 80});
  for (size_t i = tensors.size(); i-- > 0;) writer.write(tensors[i].name, tensors[i].tensor);
  writer.finish();
  expect_holds(folder.path(), tensors);
  EXPECT_EQ(Checkpoint::open(folder.path()).shards().size(), 3u);
}

TEST(CheckpointWriterTest, MisuseIsNamed) {
  TemporaryFolder folder;
  const TensorPlan a{"a", DType::kF32, {2}};
  const TensorPlan b{"b", DType::kF32, {2}};
  const Tensor two = Tensor(DType::kF32, {2});
  expect_error([&] { CheckpointWriter(folder.path(), {}); }, {"without tensors"});
  expect_error([&] { CheckpointWriter(folder.path(), {a, a}); }, {"'a'", "twice"});
  expect_error(
      [&] {
        CheckpointWriter(folder.path(), {a, a}, {.max_shard_bytes = 1});
      },
      {"'a'", "twice"});
  {
    CheckpointWriter writer(folder.path(), {a, b});
    expect_error([&] { writer.write("c", two); }, {"'c'", "planned"});
    expect_error([&] { writer.write("a", Tensor(DType::kF32, {3})); },
                 {"'a'", "[2] F32", "[3] F32"});
    expect_error([&] { writer.write("a", Tensor(DType::kI32, {2})); }, {"'a'", "F32", "I32"});
    expect_error([&] { writer.write("a", Tensor()); }, {"'a'", "nothing"});
    writer.write("a", two);
    expect_error([&] { writer.write("a", two); }, {"'a'", "twice"});
    expect_error([&] { writer.finish(); }, {"1 planned", "b"});
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
  write_bytes(folder / "file", "x");
  expect_error([&] { CheckpointWriter(folder / "file/sub", {a}); }, {"file/sub", "folder"});
}

TEST(CheckpointWriterTest, AbandonedSavesLeaveTheOldCheckpointAlone) {
  const auto old_tensors = some_tensors(3);
  const auto new_tensors = some_tensors(4);
  for (const uint64_t old_shard : {uint64_t{64}, uint64_t{1000}}) {
    for (const uint64_t new_shard : {uint64_t{64}, uint64_t{80}, uint64_t{1000}}) {
      TemporaryFolder folder;
      save_checkpoint(folder.path(), old_tensors, {.max_shard_bytes = old_shard});
      const auto before = files_in(folder.path());
      std::vector<TensorPlan> plan;
      for (const auto& t : new_tensors)
        plan.push_back({t.name, t.tensor.dtype(), t.tensor.shape()});
      try {
        CheckpointWriter writer(folder.path(), plan, {.max_shard_bytes = new_shard});
        for (const auto& t : new_tensors) writer.write(t.name, t.tensor);
        // While it is being written, nothing new has a name that a reader would open.
        for (const std::string& name : files_in(folder.path())) {
          EXPECT_TRUE(before.contains(name) || name.find(".tmp-") != name.npos) << name;
        }
        throw Error("stopped");
      } catch (const Error& e) {
        EXPECT_STREQ(e.what(), "stopped");
      }
      EXPECT_EQ(files_in(folder.path()), before);
      expect_holds(folder.path(), old_tensors);
    }
  }
}

TEST(CheckpointWriterTest, ANewSaveRemovesStaleShardsOnly) {
  const auto old_tensors = some_tensors(3);
  const auto new_tensors = some_tensors(4);
  for (const uint64_t old_shard : {uint64_t{64}, uint64_t{80}, uint64_t{1000}}) {
    for (const uint64_t new_shard : {uint64_t{64}, uint64_t{80}, uint64_t{1000}}) {
      TemporaryFolder folder;
      TemporaryFolder fresh;
      save_checkpoint(folder.path(), old_tensors, {.max_shard_bytes = old_shard});
      for (const char* other :
           {"config.json", "model-1-of-2.safetensors", "my-model.safetensors"}) {
        write_bytes(folder / other, "x");
        write_bytes(fresh / other, "x");
      }
      save_checkpoint(folder.path(), new_tensors, {.max_shard_bytes = new_shard});
      save_checkpoint(fresh.path(), new_tensors, {.max_shard_bytes = new_shard});
      EXPECT_EQ(files_in(folder.path()), files_in(fresh.path()));
      expect_holds(folder.path(), new_tensors);
    }
  }
}

TEST(CheckpointWriterTest, AFolderCanBeSavedOntoItself) {
  TemporaryFolder folder;
  const auto tensors = some_tensors();
  save_checkpoint(folder.path(), tensors, {.max_shard_bytes = 64});
  const Checkpoint c = Checkpoint::open(folder.path());
  std::vector<NamedTensor> mapped;
  for (const std::string& name : c.names()) mapped.push_back({name, c.tensor(name)});
  save_checkpoint(folder.path(), mapped, {.max_shard_bytes = 64});
  expect_holds(c, tensors);  // The old mapping still holds the old files.
  expect_holds(folder.path(), tensors);
}

TEST(CheckpointTest, LargeIndexesAreReadInLinearTime) {
  TemporaryFolder folder;
  std::vector<NamedTensor> tensors;
  for (int i = 0; i < 92'000; ++i) {
    tensors.push_back(
        {fmt::format("model.layers.{}.mlp.experts.{}.gate_proj.weight_scale_inv", i / 256, i),
         Tensor::empty(DType::kU8, {1, 1})});
  }
  save_checkpoint(folder.path(), tensors, {.max_shard_bytes = 1000});
  EXPECT_GT(fs::file_size(folder / kIndexName), 8'000'000u);
  const auto begin = std::chrono::steady_clock::now();
  const Checkpoint c = Checkpoint::open(folder.path(), Checkpoint::Mode::kHeaderOnly);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(c.names().size(), tensors.size());
  EXPECT_EQ(c.shards().size(), 92u);
  RecordProperty("milliseconds", static_cast<int>(seconds.count() * 1e3));
  EXPECT_LT(seconds.count(), 5.0);  // About 0.2; something quadratic takes minutes.
}

}  // namespace
}  // namespace dsv3
