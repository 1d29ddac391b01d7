#include "quantization/imatrix.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "base/file.h"
#include "checkpoint/gguf_writer.h"
#include "checkpoint/test_files.h"

namespace dsv3::quantization {
namespace {

namespace fs = std::filesystem;

// Written by llama-imatrix; see make_imatrix.py there.
const fs::path kLlama = fs::path(DSV3_SOURCE_DIR) / "src/quantization/testdata";

ImportanceMatrix some_matrix() {
  ImportanceMatrix m;
  m.tensors["blk.0.attn_q.weight"] = {{100, 200, 0.25}, {100}};
  m.tensors["blk.0.attn_k_b.weight"] = {{50, 100, 150, 200}, {50}};  // two heads of two
  // Three experts of two channels; the last saw nothing.
  m.tensors["blk.1.ffn_up_exps.weight"] = {{40, 80, 600, 120, 0, 0}, {40, 60, 0}};
  m.datasets = {"a.txt", "b.txt"};
  m.chunk_count = 3;
  m.chunk_size = 64;
  return m;
}

void expect_same(const ImportanceMatrix& a, const ImportanceMatrix& b) {
  EXPECT_EQ(a.datasets, b.datasets);
  EXPECT_EQ(a.chunk_count, b.chunk_count);
  EXPECT_EQ(a.chunk_size, b.chunk_size);
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, t] : a.tensors) {
    SCOPED_TRACE(name);
    const auto other = b.tensors.find(name);
    ASSERT_NE(other, b.tensors.end());
    EXPECT_EQ(t.sums, other->second.sums);
    EXPECT_EQ(t.counts, other->second.counts);
  }
}

using Means = std::vector<float>;

TEST(ImportanceMatrixTest, ImportanceIsTheMeanSquareOfTheMatrixAskedFor) {
  const ImportanceMatrix m = some_matrix();
  EXPECT_EQ(m.importance("blk.0.attn_q.weight", {7, 3}, 0), (Means{1, 2, 0.0025f}));
  EXPECT_EQ(m.importance("blk.0.attn_k_b.weight", {2, 5, 2}, 0), (Means{1, 2}));
  EXPECT_EQ(m.importance("blk.0.attn_k_b.weight", {2, 5, 2}, 1), (Means{3, 4}));
  EXPECT_EQ(m.importance("blk.1.ffn_up_exps.weight", {3, 5, 2}, 1), (Means{10, 2}));
  EXPECT_TRUE(m.importance("blk.9.attn_q.weight", {7, 3}, 0).empty());
}

TEST(ImportanceMatrixTest, AnExpertWithoutTokensHasTheMeanOverAllTokensOfTheOthers) {
  EXPECT_EQ(some_matrix().importance("blk.1.ffn_up_exps.weight", {3, 5, 2}, 2), (Means{6.4f, 2}));
}

TEST(ImportanceMatrixTest, AnExpertWithFewTokensLeansOnTheOthersByWhatItLacks) {
  ImportanceMatrix m;
  m.tensors["x"] = {{8, 16, 92, 84}, {8, 92}};  // of 1 and 2, and of 1 and less than 1
  const Means found = m.importance("x", {2, 4, 2}, 0);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_FLOAT_EQ(found[0], 1);
  EXPECT_FLOAT_EQ(found[1], (8 * 2 + 24 * 1) / 32.0f);
}

TEST(ImportanceMatrixTest, NothingIsKnownWhereNoExpertSawATokenOrNoInputWasNotZero) {
  ImportanceMatrix m;
  m.tensors["unseen"] = {{0, 0, 0, 0}, {0, 0}};
  m.tensors["dead"] = {{0, 0}, {500}};
  EXPECT_TRUE(m.importance("unseen", {2, 4, 2}, 1).empty());
  EXPECT_TRUE(m.importance("dead", {4, 2}, 0).empty());
}

TEST(ImportanceMatrixTest, TheTwoFormsOfTheLatentsProjectionStandInForEachOther) {
  ImportanceMatrix whole, halves;
  whole.tensors["blk.0.attn_kv_b.weight"] = {{100, 200}, {100}};
  halves.tensors["blk.0.attn_v_b.weight"] = {{100, 200, 300, 600}, {100}};
  EXPECT_EQ(whole.importance("blk.0.attn_v_b.weight", {2, 4, 2}, 1), (Means{1, 2}));
  EXPECT_TRUE(whole.importance("blk.0.attn_k_b.weight", {2, 2, 4}, 1).empty());
  EXPECT_EQ(halves.importance("blk.0.attn_kv_b.weight", {16, 2}, 0), (Means{2, 4}));
}

TEST(ImportanceMatrixTest, AMatrixOfAnotherModelIsRefused) {
  expect_error(
      [] {
        some_matrix().importance("blk.0.attn_q.weight", {7, 4}, 0);
      },
      {"'blk.0.attn_q.weight'", "3 sums", "expected 4", "[7, 4]"});
  expect_error(
      [] {
        some_matrix().importance("blk.1.ffn_up_exps.weight", {2, 5, 3}, 0);
      },
      {"3 counts", "1 or 2"});
}

TEST(ImportanceMatrixTest, AddingGivesTheSumsOfBothTexts) {
  ImportanceMatrix m = some_matrix(), more;
  more.tensors["blk.0.attn_q.weight"] = {{1, 2, 3}, {10}};
  more.tensors["blk.1.ffn_up_exps.weight"] = {{1, 1, 1, 1, 1, 1}, {5}};  // as older files count
  more.tensors["new"] = {{7}, {1}};
  more.datasets = {"c.txt"};
  more.chunk_count = 1;
  more.chunk_size = 128;
  m.add(more);
  EXPECT_EQ(m.tensors["blk.0.attn_q.weight"].sums, (std::vector<double>{101, 202, 3.25}));
  EXPECT_EQ(m.tensors["blk.0.attn_q.weight"].counts, (std::vector<int64_t>{110}));
  EXPECT_EQ(m.tensors["blk.1.ffn_up_exps.weight"].counts, (std::vector<int64_t>{45, 65, 5}));
  EXPECT_EQ(m.tensors["new"].sums, (std::vector<double>{7}));
  EXPECT_EQ(m.datasets, (std::vector<std::string>{"a.txt", "b.txt", "c.txt"}));
  EXPECT_EQ(m.chunk_count, 5);  // of 64 tokens
}

TEST(ImportanceMatrixTest, MatricesOfTwoModelsDoNotAddAndChangeNothing) {
  ImportanceMatrix m = some_matrix(), other;
  other.tensors["a new one"] = {{1}, {1}};
  other.tensors["blk.0.attn_q.weight"] = {{1, 2}, {10}};
  expect_error([&] { m.add(other); }, {"'blk.0.attn_q.weight'", "3 sums", "2"});
  expect_same(m, some_matrix());
}

TEST(ImportanceFileTest, WhatIsWrittenIsReadBack) {
  const TemporaryFolder folder;
  some_matrix().write(folder / "m.gguf");
  expect_same(ImportanceMatrix::read(folder / "m.gguf"), some_matrix());
}

TEST(ImportanceFileTest, ShapesInTheFileAreThoseOfLlama) {
  const TemporaryFolder folder;
  const ImportanceMatrix m = ImportanceMatrix::read(kLlama / "tiny_imatrix.gguf");
  m.write(folder / "m.gguf");
  const auto ours = GgufFile::open(folder / "m.gguf");
  const auto theirs = GgufFile::open(kLlama / "tiny_imatrix.gguf");
  for (const TensorEntry& t : ours->tensors()) {
    SCOPED_TRACE(t.name);
    ASSERT_NE(theirs->find(t.name), nullptr);
    EXPECT_EQ(t.shape, theirs->find(t.name)->shape);
    dsv3::expect_same(ours->tensor(t.name), theirs->tensor(t.name));
  }
  for (const char* key :
       {"general.type", "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"}) {
    ASSERT_NE(ours->metadata().find(key), nullptr) << key;
    EXPECT_EQ(*ours->metadata().find(key), *theirs->metadata().find(key)) << key;
  }
}

TEST(ImportanceFileTest, LlamasFileIsRead) {
  const ImportanceMatrix m = ImportanceMatrix::read(kLlama / "tiny_imatrix.gguf");
  EXPECT_EQ(m.chunk_count, 5);
  EXPECT_EQ(m.chunk_size, 16);
  EXPECT_EQ(m.datasets, (std::vector<std::string>{"tiny.txt"}));
  EXPECT_EQ(m.tensors.size(), 23u);
  const InputSquares& gate = m.tensors.at("blk.1.ffn_gate_exps.weight");
  EXPECT_EQ(gate.counts, (std::vector<int64_t>{57, 40, 63, 0}));
  EXPECT_EQ(gate.sums.size(), 4u * 32);
  EXPECT_FLOAT_EQ(static_cast<float>(gate.sums[0]), 29.139381f);  // as gguf-py reads it
}

TEST(ImportanceFileTest, LlamasTwoFormatsSayTheSame) {
  const ImportanceMatrix gguf = ImportanceMatrix::read(kLlama / "tiny_imatrix.gguf");
  const ImportanceMatrix dat = ImportanceMatrix::read(kLlama / "tiny_imatrix.dat");
  EXPECT_EQ(dat.chunk_count, 5);
  EXPECT_EQ(dat.datasets, gguf.datasets);
  ASSERT_EQ(dat.tensors.size(), gguf.tensors.size());
  for (const auto& [name, t] : gguf.tensors) {
    SCOPED_TRACE(name);
    const auto matrices = static_cast<int64_t>(t.counts.size());
    const auto in = static_cast<int64_t>(t.sums.size()) / matrices;
    // Expert 3 saw no token, for which the older format has ones. What it is given instead differs
    // a little, for that format does not say how many tokens the others saw.
    for (int64_t i = 0; i < std::min<int64_t>(matrices, 3); ++i) {
      const Shape shape = matrices == 1 ? Shape{1, in} : Shape{matrices, 1, in};
      const Means a = gguf.importance(name, shape, i), b = dat.importance(name, shape, i);
      ASSERT_EQ(a.size(), b.size());
      for (size_t c = 0; c < a.size(); ++c) EXPECT_NEAR(a[c], b[c], 4e-7 * a[c]);
    }
  }
  const Means unseen = dat.importance("blk.1.ffn_down_exps.weight", {4, 32, 16}, 3);
  ASSERT_EQ(unseen.size(), 16u);
  EXPECT_NE(unseen[0], unseen[1]);
}

// ---- files that are wrong ----

void expect_refused(const std::string& bytes, std::initializer_list<const char*> parts) {
  const TemporaryFolder folder;
  write_bytes(folder / "m.dat", bytes);
  expect_error([&] { ImportanceMatrix::read(folder / "m.dat"); }, parts);
}

std::string int32(int32_t x) { return {reinterpret_cast<const char*>(&x), sizeof x}; }
std::string float32(float x) { return {reinterpret_cast<const char*>(&x), sizeof x}; }
std::string legacy_entry(const std::string& name, int32_t calls, std::initializer_list<float> all) {
  std::string bytes = int32(static_cast<int32_t>(name.size())) + name + int32(calls) +
                      int32(static_cast<int32_t>(all.size()));
  for (const float x : all) bytes += float32(x);
  return bytes;
}

TEST(LegacyImportanceFileTest, FilesWithoutAnEndAreTheOldestAndRead) {
  const TemporaryFolder folder;
  write_bytes(folder / "m.dat", int32(1) + legacy_entry("a", 2, {4, 8}));
  const ImportanceMatrix m = ImportanceMatrix::read(folder / "m.dat");
  EXPECT_EQ(m.importance("a", {3, 2}, 0), (Means{2, 4}));
  EXPECT_TRUE(m.datasets.empty());
}

TEST(LegacyImportanceFileTest, EveryCutIsAnErrorOrTheOldestForm) {
  const std::string whole = read_file(kLlama / "tiny_imatrix.dat");
  const size_t tail = 4 + 4 + std::strlen("tiny.txt");
  const TemporaryFolder folder;
  // All places in the first entries and at the end, and some between.
  for (size_t n = 0; n < whole.size(); n += n < 200 || n + 200 > whole.size() ? 1 : 41) {
    if (n == whole.size() - tail) continue;
    write_bytes(folder / "m.dat", whole.substr(0, n));
    EXPECT_THROW(ImportanceMatrix::read(folder / "m.dat"), Error) << n;
  }
}

TEST(LegacyImportanceFileTest, SaysWhatIsWrong) {
  const std::string good = legacy_entry("a", 2, {4, 8});
  expect_refused("", {"m.dat", "ends at byte 0"});
  expect_refused("The owl sat in a tree.", {"neither a GGUF file nor an importance matrix"});
  expect_refused(int32(0), {"0 tensors"});
  expect_refused(int32(2) + good + good, {"'a' occurs twice"});
  expect_refused(int32(1) + legacy_entry("a", 0, {4, 8}), {"'a'", "0 chunks"});
  expect_refused(int32(1) + legacy_entry("a", 1, {4, -1}), {"'a'", "sum of squares 1 is -"});
  expect_refused(int32(1) + legacy_entry("a", 1, {std::nanf(""), 1}), {"'a'", "nan"});
  expect_refused(int32(1) + int32(-1) + good, {"name of tensor 1 of 1", "-1 bytes"});
  expect_refused(int32(1) + int32(1) + "a" + int32(1) + int32(1 << 30) + float32(1) + float32(1),
                 {"'a'", "1073741824 values", "the 2 that are left"});
  expect_refused(int32(1) + good + int32(-1) + int32(0), {"-1 chunks"});
  expect_refused(int32(1) + good + int32(1) + int32(0) + "x", {"1 bytes behind the end"});
}

struct GgufParts {
  GgufMetadata metadata;
  std::vector<NamedTensor> tensors;
};

/// A right file that `spoil` makes wrong.
void expect_gguf_refused(const std::function<void(GgufParts&)>& spoil,
                         std::initializer_list<const char*> parts) {
  GgufParts file;
  file.metadata.set("general.type", std::string("imatrix"));
  const std::vector<float> sums = {1, 2, 3, 4}, counts = {5, 6};
  file.tensors = {{"a.in_sum2", Tensor::from(sums, {2, 2})},
                  {"a.counts", Tensor::from(counts, {2, 1})}};
  spoil(file);
  const TemporaryFolder folder;
  write_gguf(folder / "m.gguf", file.metadata, file.tensors);
  expect_error([&] { ImportanceMatrix::read(folder / "m.gguf"); }, parts);
}

void set_float(GgufParts& file, size_t tensor, size_t index, float value) {
  file.tensors[tensor].tensor.as_mutable<float>()[index] = value;
}

TEST(ImportanceFileTest, SaysWhatIsWrong) {
  using P = GgufParts;
  expect_gguf_refused([](P& f) { f.metadata.set("general.type", std::string("model")); },
                      {"m.gguf", "general.type is \"model\"", "\"imatrix\""});
  expect_gguf_refused([](P& f) { f.metadata.erase("general.type"); }, {"general.type is missing"});
  expect_gguf_refused([](P& f) { f.metadata.set("imatrix.chunk_count", int32_t{-1}); },
                      {"imatrix.chunk_count is -1"});
  expect_gguf_refused([](P& f) { f.metadata.set("imatrix.datasets", uint32_t{1}); },
                      {"imatrix.datasets"});
  expect_gguf_refused([](P& f) { f.tensors.pop_back(); }, {"'a'", "no 'a.counts'"});
  expect_gguf_refused([](P& f) { f.tensors.erase(f.tensors.begin()); }, {"no tensors"});
  expect_gguf_refused([](P& f) { set_float(f, 0, 3, -1); }, {"'a'", "sum of squares 3 is -1"});
  expect_gguf_refused([](P& f) { set_float(f, 0, 0, std::nanf("")); }, {"sum of squares 0 is nan"});
  expect_gguf_refused([](P& f) { set_float(f, 1, 1, 0.5f); }, {"'a'", "count 1 is 0.5"});
  expect_gguf_refused([](P& f) { set_float(f, 1, 1, std::numeric_limits<float>::infinity()); },
                      {"count 1 is inf"});
  expect_gguf_refused([](P& f) { f.tensors[1].tensor = Tensor(DType::kF32, {3}); },
                      {"'a'", "4 sums of squares for 3 counts"});
  expect_gguf_refused(
      [](P& f) {
        f.tensors[0].tensor = Tensor(DType::kF16, {2, 2});
      },
      {"'a.in_sum2' is F16, expected F32"});
}

TEST(ImportanceFileTest, NumbersThatAreNotFiniteAreNotWritten) {
  const TemporaryFolder folder;
  ImportanceMatrix m = some_matrix();
  m.tensors["blk.0.attn_q.weight"].sums[1] = std::numeric_limits<double>::infinity();
  expect_error([&] { m.write(folder / "m.gguf"); }, {"'blk.0.attn_q.weight'", "inf"});
  EXPECT_FALSE(fs::exists(folder / "m.gguf"));
}

}  // namespace
}  // namespace dsv3::quantization
