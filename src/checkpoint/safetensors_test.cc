#include "checkpoint/safetensors.h"

#include <chrono>

#include "checkpoint/test_files.h"

namespace dsv3 {
namespace {

SafetensorsHeader parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file.data(), file.size())), "x.safetensors");
}

/// `header` followed by `n` bytes of data must be refused, naming all the parts.
void expect_refused(const std::string& header, size_t n, std::initializer_list<const char*> parts) {
  SCOPED_TRACE(header);
  const std::string file = file_of(header, std::string(n, '\0'));
  expect_error([&] { parse(file); }, parts);
  expect_error([&] { parse(file); }, {"x.safetensors"});
  TemporaryFolder folder;  // The reader that sees the header only says the same.
  write_bytes(folder / "y.safetensors", file);
  expect_error([&] { read_safetensors_header(folder / "y.safetensors"); }, parts);
}

std::vector<NamedTensor> one_of_each_dtype() {
  std::mt19937 random(1);
  std::vector<NamedTensor> all;
  for (int i = 0; i <= static_cast<int>(DType::kBool); ++i) {
    const DType dtype = static_cast<DType>(i);
    const std::string name(dtype_name(dtype));
    all.push_back({"layer." + name, random_tensor(dtype, {3, 5}, random)});
    all.push_back({"scalar." + name, random_tensor(dtype, {}, random)});
    all.push_back({"empty." + name, random_tensor(dtype, {4, 0, 2}, random)});
  }
  return all;
}

TEST(SafetensorsTest, EveryDtypeRoundTripsBitEqual) {
  TemporaryFolder folder;
  const auto tensors = one_of_each_dtype();
  write_safetensors(folder / "a.safetensors", tensors, {{"format", "pt"}, {"note", "\"ä\"\n"}});
  const auto file = SafetensorsFile::open(folder / "a.safetensors");
  EXPECT_EQ(file->tensors().size(), tensors.size());
  EXPECT_EQ(file->metadata().at("note"), "\"ä\"\n");
  for (const NamedTensor& t : tensors) {
    SCOPED_TRACE(t.name);
    expect_same(file->tensor(t.name), t.tensor);
    // Aligned, so that nothing was copied.
    const auto* entry = file->find(t.name);
    EXPECT_EQ(entry->offset % dtype_size(entry->dtype), 0u);
  }
  EXPECT_EQ(file->find("absent"), nullptr);
  expect_error([&] { file->tensor("absent"); }, {"a.safetensors", "absent"});
}

TEST(SafetensorsTest, TensorsOutliveTheFile) {
  TemporaryFolder folder;
  write_safetensors(folder / "a.safetensors",
                    std::vector<NamedTensor>{{"x", Tensor::from({1, 2, 3}, {3})}});
  const Tensor x = SafetensorsFile::open(folder / "a.safetensors")->tensor("x");
  std::filesystem::remove(folder / "a.safetensors");
  EXPECT_EQ(x.as<int64_t>()[2], 3);
}

TEST(SafetensorsTest, HeaderOnlyGivesShapesButNoElements) {
  TemporaryFolder folder;
  write_safetensors(folder / "a.safetensors",
                    std::vector<NamedTensor>{{"x", Tensor::from({1, 2, 3}, {3})}});
  const auto file = SafetensorsFile::open_header_only(folder / "a.safetensors");
  EXPECT_EQ(file->find("x")->shape, Shape{3});
  EXPECT_EQ(file->find("x")->bytes, 24u);
  expect_error([&] { file->tensor("x"); }, {"'x'", "header"});
}

TEST(SafetensorsTest, MisalignedTensorsAreCopied) {
  TemporaryFolder folder;
  const float values[] = {1.5f, -2.0f};
  for (int pad = 0; pad < 8; ++pad) {
    const std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                               R"("x":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})" +
                               std::string(pad, ' ');
    std::string data(9, '\0');
    std::memcpy(data.data() + 1, values, 8);
    write_bytes(folder / "a.safetensors", file_of(header, data));
    const Tensor x = SafetensorsFile::open(folder / "a.safetensors")->tensor("x");
    EXPECT_EQ(reinterpret_cast<uintptr_t>(x.raw()) % 4, 0u);
    EXPECT_EQ(x.as<float>()[0], 1.5f);
    EXPECT_EQ(x.as<float>()[1], -2.0f);
  }
}

TEST(SafetensorsTest, FilesWithoutTensorsAreValid) {
  EXPECT_TRUE(parse(file_of("{}", "")).tensors.empty());
  EXPECT_EQ(parse(file_of(R"({"__metadata__":{"a":"b"}}  )", "")).metadata.at("a"), "b");
}

TEST(SafetensorsTest, BrokenLengthsAreRefused) {
  expect_error([] { parse(""); }, {"0 bytes", "too short"});
  expect_error([] { parse("1234567"); }, {"7 bytes", "too short"});
  expect_error([] { parse(std::string(8, '\xff')); }, {"18446744073709551615", "100000000"});
  std::string cut = file_of("{}", "");
  cut.pop_back();
  expect_error([&] { parse(cut); }, {"truncated", "2 bytes", "9 bytes"});
  expect_error([] { parse("version https://git-lfs.github.com/spec/v1\noid sha256:1"); },
               {"Git LFS pointer"});
  expect_error([] { parse("GGUF\3\0\0\0aaaaaaaaaaaaaaaaaaaaaaa"); }, {"x.safetensors"});
}

TEST(SafetensorsTest, HeadersThatAreNotSuchJsonAreRefused) {
  expect_refused("", 0, {"does not begin with '{'"});
  expect_refused("[]", 0, {"does not begin with '{'"});
  expect_refused(" {}", 0, {"does not begin with '{'"});
  expect_refused("{\"a\":", 0, {"not valid JSON", "byte"});
  expect_refused("{} {}", 0, {"not valid JSON"});
  expect_refused("{\"a\xff\":{}}", 0, {"not valid JSON"});
  expect_refused(R"({"a":3})", 0, {"'a'", "3", "object"});
  expect_refused(R"({"a":null})", 0, {"'a'", "null", "object"});
  expect_refused(R"({"a":[]})", 0, {"'a'", "list", "object"});
  expect_refused(R"({"a":{}})", 0, {"'a'", "dtype"});
  expect_refused(std::string(1 << 20, '['), 0, {"does not begin"});
  expect_refused(R"({"a":)" + std::string(1 << 20, '['), 0, {"'a'"});
  expect_refused(R"({"__metadata__":{"a":1}})", 0, {"__metadata__", "'a'", "1", "string"});
  expect_refused(R"({"__metadata__":{"a":{}}})", 0, {"__metadata__", "'a'", "string"});
  expect_refused(R"({"__metadata__":"a"})", 0, {"__metadata__", "object"});
  expect_refused(R"({"__metadata__":{"a":"1","a":"2"}})", 0, {"__metadata__", "'a'", "twice"});
}

TEST(SafetensorsTest, MalformedTensorsAreRefusedByName) {
  const auto bad = [](const std::string& fields, size_t n,
                      std::initializer_list<const char*> parts) {
    expect_refused("{\"w\":{" + fields + "}}", n, parts);
    expect_refused("{\"w\":{" + fields + "}}", n, {"'w'"});
  };
  bad(R"("dtype":"F31","shape":[1],"data_offsets":[0,4])", 4, {"F31", "F32", "BF16"});
  bad(R"("dtype":5,"shape":[1],"data_offsets":[0,4])", 4, {"dtype", "5", "string"});
  bad(R"("dtype":["F32"],"shape":[1],"data_offsets":[0,4])", 4, {"dtype", "list", "string"});
  bad(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])", 4, {"shape", "-1"});
  bad(R"("dtype":"F32","shape":[1.5],"data_offsets":[0,4])", 4, {"shape", "1.5"});
  bad(R"("dtype":"F32","shape":["1"],"data_offsets":[0,4])", 4, {"shape", "\"1\""});
  bad(R"("dtype":"F32","shape":[[1]],"data_offsets":[0,4])", 4, {"shape"});
  bad(R"("dtype":"F32","shape":1,"data_offsets":[0,4])", 4, {"shape", "1"});
  bad(R"("dtype":"F32","shape":null,"data_offsets":[0,4])", 4, {"shape", "null"});
  bad(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4])", 4,
      {"18446744073709551615"});
  bad(R"("dtype":"F32","shape":[99999999999999999999999],"data_offsets":[0,4])", 4, {"shape"});
  bad(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4])", 4, {"too large"});
  bad(R"("dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0])", 0, {"too large"});
  bad(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])", 4, {"[4, 0]", "before"});
  bad(R"("dtype":"F32","shape":[1],"data_offsets":[0,8])", 8, {"8 bytes", "F32 [1]", "4"});
  bad(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])", 4, {"4 bytes", "F32 [2]", "8"});
  bad(R"("dtype":"F32","shape":[1],"data_offsets":[0])", 4, {"data_offsets", "1 numbers"});
  bad(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,8])", 4, {"data_offsets", "8"});
  bad(R"("dtype":"F32","shape":[1],"data_offsets":[-1,3])", 4, {"data_offsets", "-1"});
  bad(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])", 3, {"byte 4", "3 bytes", "truncated"});
  bad(R"("dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,18446744073709551615])", 4,
      {"'w'"});
  bad(R"("dtype":"F32","shape":[1])", 4, {"data_offsets"});
  bad(R"("dtype":"F32","data_offsets":[0,4])", 4, {"shape"});
  bad(R"("shape":[1],"data_offsets":[0,4])", 4, {"dtype"});
  bad(R"("dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4])", 4, {"dtype", "twice"});
  bad(R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"stride":[1])", 4, {"stride"});
}

TEST(SafetensorsTest, DataMustBeTiledByTheTensors) {
  const auto u8 = [](const char* name, int begin, int end) {
    return fmt::format(R"("{}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}})", name,
                       end - begin, begin, end);
  };
  const auto both = [&](int a0, int a1, int b0, int b1) {
    return "{" + u8("a", a0, a1) + "," + u8("b", b0, b1) + "}";
  };
  EXPECT_EQ(parse(file_of(both(2, 4, 0, 2), "1234")).tensors[0].name, "b");
  EXPECT_EQ(parse(file_of(both(0, 4, 4, 4), "1234")).tensors.size(), 2u);
  expect_refused(both(0, 3, 2, 4), 4, {"'b'", "overlaps", "'a'", "2", "3"});
  expect_refused(both(0, 4, 0, 4), 4, {"overlaps"});
  expect_refused(both(0, 2, 3, 4), 4, {"bytes 2 to 3", "'b'", "no tensor"});
  expect_refused(both(1, 2, 2, 4), 4, {"bytes 0 to 1", "no tensor"});
  expect_refused(both(0, 2, 2, 4), 5, {"bytes 4 to 5", "no tensor"});
  expect_refused(both(0, 2, 2, 4), 3, {"byte 4", "3 bytes"});
  expect_refused("{}", 1, {"bytes 0 to 1"});
  expect_refused("{" + u8("a", 0, 2) + "," + u8("a", 2, 4) + "}", 4, {"'a'", "twice"});
}

TEST(SafetensorsTest, WritingRefusesWhatCouldNotBeRead) {
  TemporaryFolder folder;
  const Tensor x = Tensor::from({1}, {1});
  const auto write = [&](std::vector<NamedTensor> tensors) {
    write_safetensors(folder / "a.safetensors", tensors);
  };
  expect_error([&] { write({{"x", x}, {"x", x}}); }, {"a.safetensors", "'x'", "twice"});
  expect_error([&] { write({{"__metadata__", x}}); }, {"__metadata__"});
  expect_error([&] { write({{"x", Tensor()}}); }, {"'x'", "absent"});
  expect_error([&] { write({{"x\xff", x}}); }, {"UTF-8"});
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

/// What is read from a damaged file is either refused by Error or safe to look at.
void read_all(const std::string& file) {
  try {
    const SafetensorsHeader header = parse(file);
    for (const TensorEntry& t : header.tensors) {
      ASSERT_LE(t.offset + t.bytes, file.size());
      ASSERT_GE(t.offset, 8u);
    }
  } catch (const Error&) {
  }
}

TEST(SafetensorsTest, DamagedFilesNeverCrash) {
  TemporaryFolder folder;
  write_safetensors(folder / "a.safetensors", one_of_each_dtype(), {{"format", "pt"}});
  const std::string good = read_file(folder / "a.safetensors");
  ASSERT_NO_THROW(parse(good));
  for (size_t n = 0; n < good.size(); ++n) {  // Every truncation is noticed.
    EXPECT_THROW(parse(good.substr(0, n)), Error) << n;
  }
  std::mt19937 random(20);
  for (int trial = 0; trial < 20000; ++trial) {
    std::string bad = good;
    const int flips = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < flips; ++i) {
      bad[random() % bad.size()] ^= static_cast<char>(1u << (random() % 8));
    }
    if (trial % 5 == 0) bad.erase(random() % bad.size(), random() % 16);
    if (trial % 7 == 0) bad.insert(random() % bad.size(), "9");
    read_all(bad);
    if (trial % 100 == 0) {  // Through the file system, too.
      write_bytes(folder / "bad.safetensors", bad);
      try {
        const auto file = SafetensorsFile::open(folder / "bad.safetensors");
        for (const TensorEntry& t : file->tensors()) file->tensor(t.name).clone();
      } catch (const Error&) {
      }
    }
  }
}

TEST(SafetensorsTest, ManyTensorsOpenInLinearTime) {
  TemporaryFolder folder;
  std::vector<NamedTensor> tensors;
  for (int i = 0; i < 100'000; ++i) {
    tensors.push_back({fmt::format("model.layers.{}.mlp.experts.{}.gate_proj.weight", i / 256, i),
                       Tensor::empty(DType::kU8, {1, 1})});
  }
  write_safetensors(folder / "a.safetensors", tensors);
  const auto begin = std::chrono::steady_clock::now();
  const auto file = SafetensorsFile::open(folder / "a.safetensors");
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(file->tensors().size(), tensors.size());
  RecordProperty("milliseconds", static_cast<int>(seconds.count() * 1e3));
  EXPECT_LT(seconds.count(), 5.0);  // About 0.1; something quadratic takes minutes.
}

}  // namespace
}  // namespace dsv3
