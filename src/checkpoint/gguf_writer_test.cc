#include "checkpoint/gguf_writer.h"

#include <set>
#include <thread>

#include "checkpoint/test_files.h"

namespace dsv3 {
namespace {

namespace fs = std::filesystem;

std::set<std::string> files_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

GgufMetadata some_metadata() {
  GgufMetadata m;
  m.set("general.architecture", std::string("deepseek2"));
  m.set("texts", GgufStrings{"a", "", "b"});
  m.set("flags", std::vector<bool>{true, false});
  return m;
}

/// 128, 288, 4 and 64 bytes, aligned.
std::vector<NamedTensor> some_tensors() {
  std::mt19937 random(5);
  return {{"token_embd.weight", random_tensor(DType::kF32, {4, 8}, random)},
          {"blk.0.ffn_up.weight", random_tensor(DType::kQ4_K, {2, 256}, random)},
          {"blk.0.exp_probs_b.bias", random_tensor(DType::kF32, {1}, random)},
          {"output.weight", random_tensor(DType::kBF16, {2, 1, 4, 4}, random)}};
}

std::vector<TensorPlan> plan_of(const std::vector<NamedTensor>& tensors) {
  std::vector<TensorPlan> plan;
  for (const NamedTensor& t : tensors) plan.push_back({t.name, t.tensor.dtype(), t.tensor.shape()});
  return plan;
}

void write_all(GgufWriter& writer, const std::vector<NamedTensor>& tensors) {
  for (auto t = tensors.rbegin(); t != tensors.rend(); ++t) writer.write(t->name, t->tensor);
  writer.finish();
}

void expect_holds(const fs::path& path, const std::vector<NamedTensor>& tensors) {
  const Checkpoint c = Checkpoint::open(path);
  EXPECT_EQ(c.names().size(), tensors.size());
  for (const NamedTensor& t : tensors) {
    SCOPED_TRACE(t.name);
    expect_same(c.tensor(t.name), t.tensor);
  }
  ASSERT_NE(c.gguf_metadata(), nullptr);
  EXPECT_EQ(c.gguf_metadata()->strings("texts"), (GgufStrings{"a", "", "b"}));
  EXPECT_EQ(c.gguf_metadata()->booleans("flags"), (std::vector<bool>{true, false}));
}

/// Three files, of 1, 1 and 2 tensors.
std::vector<fs::path> write_split(const fs::path& path, const std::vector<NamedTensor>& tensors) {
  GgufWriter writer(path, some_metadata(), plan_of(tensors), {.max_shard_bytes = 300});
  write_all(writer, tensors);
  return writer.paths();
}

TEST(GgufWriterTest, WhatIsWrittenInAnyOrderIsReadBack) {
  TemporaryFolder folder;
  const auto tensors = some_tensors();
  {
    GgufWriter writer(folder / "m.gguf", some_metadata(), plan_of(tensors));
    write_all(writer, tensors);
  }
  EXPECT_EQ(files_in(folder.path()), (std::set<std::string>{"m.gguf"}));
  expect_holds(folder / "m.gguf", tensors);
  for (const TensorEntry& t : GgufFile::open(folder / "m.gguf")->tensors()) {
    EXPECT_EQ(t.offset % 32, 0u);
  }
}

TEST(GgufWriterTest, ThreadsWritePartsOfTensors) {
  TemporaryFolder folder;
  const auto tensors = some_tensors();
  GgufWriter writer(folder / "m.gguf", some_metadata(), plan_of(tensors));
  std::vector<std::thread> threads;
  for (size_t part : {0u, 1u}) {
    threads.emplace_back([&, part] {
      for (const NamedTensor& t : tensors) {
        const size_t half = t.tensor.bytes() / 2;
        writer.write_part(t.name, part * half,
                          {static_cast<const std::byte*>(t.tensor.raw()) + part * half, half});
      }
    });
  }
  for (std::thread& t : threads) t.join();
  writer.finish();
  expect_holds(folder / "m.gguf", tensors);
}

TEST(GgufWriterTest, OtherAlignmentsAreKept) {
  TemporaryFolder folder;
  const auto tensors = some_tensors();
  GgufMetadata m = some_metadata();
  m.set(kGgufAlignmentKey, uint32_t{256});
  write_gguf(folder / "m.gguf", m, tensors);
  expect_holds(folder / "m.gguf", tensors);
  for (const TensorEntry& t : GgufFile::open(folder / "m.gguf")->tensors()) {
    EXPECT_EQ(t.offset % 256, 0u);
  }
}

TEST(GgufWriterTest, ASplitModelOpensByAnyOfItsFiles) {
  TemporaryFolder folder;
  const auto tensors = some_tensors();
  const auto paths = write_split(folder / "m.gguf", tensors);
  EXPECT_EQ(files_in(folder.path()),
            (std::set<std::string>{"m-00001-of-00003.gguf", "m-00002-of-00003.gguf",
                                   "m-00003-of-00003.gguf"}));
  for (const fs::path& path : paths) {
    expect_holds(path, tensors);
    EXPECT_EQ(read_gguf_metadata(path).string("general.architecture"), "deepseek2");
  }
  const Checkpoint c = Checkpoint::open(paths[1], Checkpoint::Mode::kHeaderOnly);
  EXPECT_EQ(c.shards().size(), 3u);
  EXPECT_EQ(c.find("output.weight")->shard, "m-00003-of-00003.gguf");
}

TEST(GgufWriterTest, SplitsThatDoNotBelongTogetherAreRefused) {
  const auto tensors = some_tensors();
  {
    TemporaryFolder folder;
    const auto paths = write_split(folder / "m.gguf", tensors);
    fs::remove(paths[0]);
    fs::remove(paths[2]);
    expect_error([&] { Checkpoint::open(paths[1]); },
                 {"2 of 3 files of this split model are missing",
                  "m-00001-of-00003.gguf, m-00003-of-00003.gguf"});
  }
  {
    TemporaryFolder folder;
    const auto paths = write_split(folder / "m.gguf", tensors);
    fs::rename(paths[1], folder / "renamed.gguf");
    expect_error([&] { Checkpoint::open(folder / "renamed.gguf"); },
                 {"renamed.gguf: says that it is file 2 of 3", "-00002-of-00003.gguf"});
    fs::copy(paths[2], paths[1]);
    expect_error([&] { Checkpoint::open(paths[0]); },
                 {"m-00002-of-00003.gguf: says that it is file 3 of 3"});
  }
  {
    TemporaryFolder folder;
    const auto paths = write_split(folder / "m.gguf", tensors);
    // Of a model with the same names but another number of tensors.
    const auto others = write_split(folder / "o.gguf", {tensors[0], tensors[1], tensors[2]});
    fs::rename(others[2], paths[2]);
    expect_error(
        [&] { Checkpoint::open(paths[0]); },
        {"m-00001-of-00003.gguf: the files of this split model have 3 tensors, expected 4"});
    fs::copy_file(folder / "o-00002-of-00003.gguf", paths[1], fs::copy_options::overwrite_existing);
    GgufWriter writer(folder / "p.gguf", some_metadata(),
                      {{"a", DType::kF32, {64}},
                       {"token_embd.weight", DType::kF32, {64}},
                       {"c", DType::kF32, {64}}},
                      {.max_shard_bytes = 300});
    for (const char* name : {"a", "token_embd.weight", "c"}) {
      writer.write(name, Tensor(DType::kF32, {64}));
    }
    writer.finish();
    fs::rename(folder / "p-00002-of-00003.gguf", paths[1]);
    expect_error([&] { Checkpoint::open(paths[0]); },
                 {"tensor 'token_embd.weight' is also in m-00001-of-00003.gguf"});
  }
}

TEST(GgufWriterTest, WithoutFinishNothingLooksComplete) {
  TemporaryFolder folder;
  const auto tensors = some_tensors();
  write_split(folder / "m.gguf", tensors);
  {
    GgufWriter writer(folder / "m.gguf", some_metadata(), plan_of(tensors),
                      {.max_shard_bytes = 300});
    for (const NamedTensor& t : tensors) writer.write(t.name, t.tensor);
    // What a killed run leaves is no GGUF even to a reader that does not look at its name.
    size_t temporaries = 0;
    for (const std::string& name : files_in(folder.path())) {
      if (name.ends_with(".gguf")) continue;
      ++temporaries;
      expect_error([&] { GgufFile::open(folder / name); }, {"not a GGUF file"});
    }
    EXPECT_EQ(temporaries, 3u);
  }
  EXPECT_EQ(files_in(folder.path()).size(), 3u);
  expect_holds(folder / "m-00001-of-00003.gguf", tensors);
}

TEST(GgufWriterTest, MistakesAreNamed) {
  TemporaryFolder folder;
  const auto make = [&](std::vector<TensorPlan> plan) {
    return [&folder, plan] { GgufWriter(folder / "m.gguf", GgufMetadata(), plan); };
  };
  expect_error(make({{"a", DType::kF8E4M3, {4}}}), {"tensor 'a': GGUF has no type F8_E4M3"});
  expect_error(make({{"a", DType::kQ4_K, {256, 32}}}), {"rows of [256, 32]", "Q4_K blocks of 256"});
  expect_error(make({{"a", DType::kF32, {1, 1, 1, 1, 1}}}), {"at most 4 dimensions"});
  expect_error(make({{std::string(64, 'a'), DType::kF32, {1}}}), {"a name of 64 bytes"});
  expect_error(make({{"a", DType::kF32, {1}}, {"a", DType::kF32, {1}}}),
               {"tensor 'a' is to be written twice"});
  GgufMetadata m;
  m.set(kGgufAlignmentKey, uint32_t{48});
  expect_error([&] { GgufWriter(folder / "m.gguf", m, {}); }, {"48 is not a power of two"});

  GgufWriter writer(folder / "m.gguf", GgufMetadata(),
                    {{"a", DType::kF32, {2}}, {"b", DType::kF32, {1}}});
  const Tensor two(DType::kF32, {2});
  expect_error([&] { writer.write("c", two); }, {"tensor 'c' was not planned"});
  expect_error([&] { writer.write("b", two); }, {"tensor 'b': expected [1] F32, found [2] F32"});
  writer.write("a", two);
  expect_error([&] { writer.write("a", two); }, {"tensor 'a' is written twice"});
  expect_error([&] { writer.finish(); }, {"1 planned tensors were not written: b"});
}

TEST(GgufSplitNameTest, OnlyNamesOfSplitsAreTaken) {
  const auto name = GgufSplitName::parse("DeepSeek-V3-Q4_K_M-00002-of-00009.gguf");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->prefix, "DeepSeek-V3-Q4_K_M");
  EXPECT_EQ(name->number, 2u);
  EXPECT_EQ(name->count, 9u);
  EXPECT_EQ(name->file_name(), "DeepSeek-V3-Q4_K_M-00002-of-00009.gguf");
  for (const char* other :
       {"m.gguf", "m-00002-of-00009.bin", "m-2-of-9.gguf", "m-00000-of-00009.gguf",
        "m-00010-of-00009.gguf", "m-0000a-of-00009.gguf", "m_00002-of-00009.gguf",
        "00002-of-00009.gguf"}) {
    EXPECT_FALSE(GgufSplitName::parse(other)) << other;
  }
}

}  // namespace
}  // namespace dsv3
