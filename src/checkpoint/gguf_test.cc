#include "checkpoint/gguf.h"

#include <cstring>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_tokens.h"
#include "checkpoint/gguf_writer.h"
#include "checkpoint/test_files.h"

namespace dsv3 {
namespace {

namespace fs = std::filesystem;

const fs::path kTiny = fs::path(DSV3_SOURCE_DIR) / "src/checkpoint/testdata/tiny.gguf";

/// The bytes of a GGUF file, right or wrong, made of its parts.
struct Bytes {
  std::string text;
  template <typename T>
  Bytes& put(T value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Bytes& raw(std::string_view more) {
    text += more;
    return *this;
  }
  Bytes& string(std::string_view value) { return put<uint64_t>(value.size()).raw(value); }
  Bytes& key(std::string_view name, uint32_t type) { return string(name).put(type); }
  Bytes& tensor(std::string_view name, std::vector<uint64_t> ne, uint32_t type, uint64_t offset) {
    string(name).put<uint32_t>(static_cast<uint32_t>(ne.size()));
    for (const uint64_t n : ne) put(n);
    return put(type).put(offset);
  }
  /// Aligns, and adds so many bytes of data.
  Bytes& data(size_t bytes, size_t alignment = 32) {
    text.resize((text.size() + alignment - 1) / alignment * alignment + bytes);
    return *this;
  }
};
Bytes head(uint64_t n_tensors, uint64_t n_keys, uint32_t version = 3) {
  return Bytes().raw("GGUF").put(version).put(n_tensors).put(n_keys);
}

GgufHeader parse(std::string_view file) {
  return parse_gguf(std::as_bytes(std::span(file.data(), file.size())), "x.gguf");
}
void expect_refused(const Bytes& file, std::initializer_list<const char*> parts) {
  expect_error([&] { parse(file.text); }, parts);
}

constexpr uint32_t kF32 = 0, kQ4K = 12, kU8 = 0, kU32 = 4, kBool = 7, kString = 8, kList = 9;

TEST(GgufTest, ReadsWhatGgufPyWrites) {
  const auto file = GgufFile::open(kTiny);
  const GgufMetadata& m = file->metadata();
  EXPECT_EQ(file->version(), 3u);
  EXPECT_EQ(m.string("general.architecture"), "deepseek2");
  EXPECT_EQ(m.integer("u8"), 200);
  EXPECT_EQ(m.integer("i8"), -100);
  EXPECT_EQ(m.integer("u16"), 60000);
  EXPECT_EQ(m.integer("i16"), -30000);
  EXPECT_EQ(m.integer("u32"), 4000000000);
  EXPECT_EQ(m.integer("i32"), -2000000000);
  EXPECT_EQ(m.integer("i64"), -(int64_t{1} << 62));
  EXPECT_EQ(std::get<uint64_t>(*m.find("u64")), (uint64_t{1} << 63) + 5);
  EXPECT_EQ(m.number("f32"), 0.1f);
  EXPECT_EQ(m.number("f64"), 0.1);
  EXPECT_EQ(m.number("i8"), -100.0);
  EXPECT_TRUE(m.boolean("yes"));
  EXPECT_EQ(m.string("text"), "für 深度");
  EXPECT_EQ(m.integers("list.i32"), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(m.integers("list.u8"), (std::vector<int64_t>{1, 2, 255}));
  EXPECT_EQ(m.numbers("list.f32"), (std::vector<double>{0.5, -1.5}));
  EXPECT_EQ(m.booleans("list.bool"), (std::vector<bool>{true, false, true}));
  EXPECT_EQ(m.strings("list.text"), (GgufStrings{"", "a", "Ġthe"}));

  EXPECT_EQ(file->tensor("f32").shape(), (Shape{2, 3}));
  EXPECT_EQ(file->tensor("f32").as<float>()[5], 5.0f);
  EXPECT_EQ(file->tensor("f16").as<uint16_t>()[4], 0x4400);
  EXPECT_EQ(file->tensor("i32").shape(), (Shape{2, 3, 4}));
  EXPECT_EQ(file->tensor("i32").as<int32_t>()[23], 23);
  const Tensor q8 = file->tensor("q8_0");
  EXPECT_EQ(q8.dtype(), DType::kQ8_0);
  EXPECT_EQ(q8.shape(), (Shape{2, 32}));
  EXPECT_EQ(static_cast<const unsigned char*>(q8.raw())[34 + 2], 32);
}

TEST(GgufTest, WritesTheSameBytesAsGgufPy) {
  TemporaryFolder folder;
  const auto file = GgufFile::open(kTiny);
  std::vector<NamedTensor> tensors;
  for (const TensorEntry& t : file->tensors()) tensors.push_back({t.name, file->tensor(t.name)});
  write_gguf(folder / "copy.gguf", file->metadata(), tensors);
  EXPECT_EQ(read_file(folder / "copy.gguf"), read_file(kTiny));
}

TEST(GgufTest, EveryTruncationIsRefused) {
  const std::string whole = read_file(kTiny);
  constexpr size_t kEndOfData = 0x360 + 24 * 4;  // what follows is padding
  ASSERT_EQ(whole.size(), kEndOfData);
  for (size_t size = 0; size < whole.size(); ++size) {
    SCOPED_TRACE(size);
    expect_error([&] { parse(std::string_view(whole).substr(0, size)); }, {"x.gguf: "});
  }
}

TEST(GgufTest, OtherFilesVersionsAndByteOrdersAreNamed) {
  expect_refused(Bytes().raw("PK\x03\x04......"), {"not a GGUF file", "'PK\\x03\\x04'"});
  expect_refused(Bytes(), {"not a GGUF file", "''"});
  expect_refused(head(0, 0, 1), {"version 1 of GGUF, expected 2 or 3"});
  expect_refused(head(0, 0, 4), {"version 4 of GGUF, expected 2 or 3"});
  expect_refused(head(0, 0, 0), {"version 0"});
  expect_refused(Bytes().raw({"GGUF\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24}),
                 {"big-endian", "version 3", "gguf-convert-endian"});
  EXPECT_EQ(parse(head(0, 0, 2).text).version, 2u);
}

TEST(GgufTest, CountsAndLengthsThatCannotBeAreRefusedBeforeMemoryIsAskedFor) {
  constexpr uint64_t kAbsurd = UINT64_MAX;
  expect_refused(head(0, kAbsurd), {"18446744073709551615 keys do not fit", "24 bytes"});
  expect_refused(head(kAbsurd, 0), {"18446744073709551615 tensors do not fit"});
  expect_refused(head(0, 1).put(kAbsurd).data(32), {"a key takes 18446744073709551615 bytes"});
  expect_refused(head(0, 1).key("k", kString).put(kAbsurd).data(32),
                 {"the value of key 'k' takes 18446744073709551615 bytes", "truncated"});
  for (const uint32_t type : {kU8, kU32, kBool, kString}) {
    expect_refused(head(0, 1).key("k", kList).put(type).put(kAbsurd / 4).data(32),
                   {"key 'k': a list of 4611686018427387903 does not fit"});
  }
  expect_refused(head(1, 0).tensor("t", {kAbsurd, 2}, kF32, 0).data(32),
                 {"tensor 't': dimension 0 of 18446744073709551615 is absurd"});
  expect_refused(head(1, 0).tensor("t", {1u << 31, 1u << 31, 1u << 31}, kF32, 0).data(32),
                 {"tensor 't': dimension 1 of 2147483648 is absurd"});
  expect_refused(head(1, 0).string("t").put(uint32_t{5}).data(64),
                 {"tensor 't' has 5 dimensions, expected at most 4"});
}

TEST(GgufTest, BadKeysAreRefused) {
  expect_refused(head(0, 2).key("k", kU32).put(1u).key("k", kU32).put(1u),
                 {"key 'k' occurs twice"});
  expect_refused(head(0, 1).key("k", 13).put(1u), {"key 'k' has a value of the unknown type 13"});
  expect_refused(head(0, 1).key("k", kList).put(kList).put(uint64_t{0}),
                 {"key 'k': lists within lists"});
  expect_refused(head(0, 1).key("k", kBool).put(uint8_t{2}),
                 {"key 'k': expected a boolean, 0 or 1, found 2"});
  expect_refused(head(0, 1).key("", kU32).put(1u), {"a key is '', expected printable ASCII"});
  expect_refused(head(0, 1).key("a\nb", kU32).put(1u), {"'a\\x0ab'"});
}

TEST(GgufTest, TheAlignmentMustBeAPowerOfTwo) {
  const auto with_alignment = [](uint32_t alignment) {
    return head(1, 1)
        .key("general.alignment", kU32)
        .put(alignment)
        .tensor("t", {2}, kF32, 0)
        .data(8, 64);
  };
  const GgufHeader header = parse(with_alignment(64).text);
  EXPECT_EQ(header.alignment, 64u);
  EXPECT_EQ(header.tensors[0].offset % 64, 0u);
  for (const uint32_t wrong : {0u, 48u}) {
    expect_refused(with_alignment(wrong), {"general.alignment", "power of two", "(UINT32)"});
  }
  expect_refused(head(0, 1).key("general.alignment", kString).string("32"),
                 {"power of two", "found a string"});
}

TEST(GgufTest, BadTensorsAreRefused) {
  const auto two = [](uint64_t second) {
    return head(2, 0).tensor("a", {8}, kF32, 0).tensor("b", {8}, kF32, second).data(96);
  };
  EXPECT_EQ(parse(two(32).text).tensors[1].name, "b");
  EXPECT_EQ(parse(two(64).text).tensors.size(), 2u);  // Gaps are allowed.
  expect_refused(two(0), {"tensors 'a' and 'b' overlap"});
  expect_refused(two(16), {"tensor 'b' is at 16 in the data", "alignment 32"});
  expect_refused(two(96), {"tensor 'b' takes 32 bytes at 96 in the data", "truncated"});
  expect_refused(two(~uint64_t{31}), {"tensor 'b' takes 32 bytes at 18446744073709551584"});
  expect_refused(head(2, 0).tensor("a", {1}, kF32, 0).tensor("a", {1}, kF32, 32).data(64),
                 {"tensor 'a' occurs twice"});
  expect_refused(head(1, 0).tensor("a", {1}, 99, 0).data(64),
                 {"tensor 'a' is of the unknown type 99"});
  expect_refused(head(1, 0).tensor("a", {256}, 16, 0).data(66),
                 {"tensor 'a' is IQ2_XXS, which is not supported"});
  expect_refused(head(1, 0).tensor("a", {128, 2}, kQ4K, 0).data(144),
                 {"tensor 'a': rows of 128 elements", "Q4_K blocks of 256"});
  expect_refused(head(1, 0).tensor("caf\xC3\xA9", {1}, kF32, 0).data(64),
                 {"'caf\\xc3\\xa9', expected printable ASCII"});
}

TEST(GgufTest, TensorsComeInTheOrderOfTheDataAndEmptyOnesOverlapNothing) {
  const GgufHeader header = parse(head(4, 0)
                                      .tensor("last", {2, 0}, kF32, 64)
                                      .tensor("b", {3, 2}, kF32, 32)
                                      .tensor("a", {1}, kF32, 0)
                                      .tensor("scalar", {}, kF32, 64)
                                      .data(68)
                                      .text);
  std::vector<std::string> names;
  for (const TensorEntry& t : header.tensors) names.push_back(t.name);
  EXPECT_EQ(names, (std::vector<std::string>{"a", "b", "last", "scalar"}));
  EXPECT_EQ(header.tensors[1].shape, (Shape{2, 3}));
  EXPECT_EQ(header.tensors[2].shape, (Shape{0, 2}));
  EXPECT_EQ(header.tensors[3].shape, (Shape{}));
  EXPECT_EQ(header.tensors[3].bytes, 4u);
}

TEST(GgufMetadataTest, GettersNameTheFileTheKeyAndTheTypes) {
  GgufMetadata m("x.gguf");
  m.set("int", uint32_t{5});
  m.set("big", uint64_t{1} << 63);
  m.set("float", 0.5f);
  m.set("flag", true);
  m.set("text", std::string("t"));
  m.set("texts", GgufStrings{"a", "b"});
  expect_error([&] { m.string("none"); }, {"x.gguf: no key 'none', expected a string"});
  expect_error([&] { m.string("int"); },
               {"x.gguf: key 'int': expected a string, found the integer 5 (UINT32)"});
  expect_error([&] { m.integer("float"); },
               {"expected an integer, found the number 0.5 (FLOAT32)"});
  expect_error([&] { m.integer("big"); },
               {"expected an integer, found the integer 9223372036854775808"});
  expect_error([&] { m.integer("flag"); }, {"found the boolean true"});
  expect_error([&] { m.boolean("int"); }, {"expected a boolean"});
  expect_error([&] { m.number("text"); }, {"expected a number, found a string"});
  expect_error([&] { m.find_integers("texts"); },
               {"expected a list of integers, found a list of 2 STRING"});
  EXPECT_EQ(m.find_integer("none"), std::nullopt);
  EXPECT_EQ(m.find_string("none"), nullptr);
  EXPECT_EQ(m.number("int"), 5.0);

  m.erase("big");
  m.set("int", int8_t{-1});
  EXPECT_FALSE(m.contains("big"));
  EXPECT_EQ(m.entries().front().first, "int");
  EXPECT_EQ(m.integer("int"), -1);
  EXPECT_TRUE(m.boolean("flag"));
}

TEST(GgufTokensTest, EndsAreThoseOfTheKeysAndThoseKnownByTheirText) {
  GgufMetadata m;
  EXPECT_EQ(gguf_end_tokens(m), std::vector<int64_t>{});
  m.set("tokenizer.ggml.tokens", GgufStrings{"a", "[EOS]", "<|im_end|>", "[EOT]", "<|end|>"});
  m.set("tokenizer.ggml.token_type", std::vector<int32_t>{1, 3, 3, 4, 1});
  m.set("tokenizer.ggml.eos_token_id", uint32_t{1});
  EXPECT_EQ(gguf_end_tokens(m), (std::vector<int64_t>{1, 2, 3}));
  m.set("tokenizer.ggml.eot_token_id", uint32_t{3});
  EXPECT_EQ(gguf_end_tokens(m), (std::vector<int64_t>{1, 3, 2}));
}

TEST(GgufTest, ACheckpointOpensGgufFiles) {
  TemporaryFolder folder;
  fs::copy(kTiny, folder / "model.gguf");
  fs::copy(kTiny, folder / "sha256-0123");
  for (const char* name : {"model.gguf", "sha256-0123"}) {
    const Checkpoint c = Checkpoint::open(folder / name);
    EXPECT_EQ(c.names(), (std::vector<std::string>{"f16", "f32", "i32", "q8_0"}));
    EXPECT_EQ(c.total_bytes(), 24u + 10 + 68 + 96);
    EXPECT_EQ(c.find("q8_0")->shard, name);
    EXPECT_EQ(c.gguf_metadata()->integer("u8"), 200);
    EXPECT_EQ(c.tensor("i32").as<int32_t>()[23], 23);
  }
  const Checkpoint header = Checkpoint::open(folder / "model.gguf", Checkpoint::Mode::kHeaderOnly);
  EXPECT_EQ(header.names().size(), 4u);
  expect_error([&] { header.tensor("f32"); }, {"only the header was opened"});
  expect_error([&] { Checkpoint::open(folder.path()); },
               {"found model.gguf; to open a GGUF file, give its own path"});
}

}  // namespace
}  // namespace dsv3
