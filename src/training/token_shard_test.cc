#include "training/token_shard.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/crc32.h"
#include "base/file.h"
#include "checkpoint/test_files.h"
#include "training/test_shards.h"

namespace dsv3::training {
namespace {

/// The bytes of a shard with a field of its header changed, and the header's checksum made good.
std::string with_header(std::string file, size_t at, uint64_t value, size_t bytes) {
  std::memcpy(file.data() + at, &value, bytes);
  const uint32_t crc = crc32(std::as_bytes(std::span(file.data(), 60)));
  std::memcpy(file.data() + 60, &crc, 4);
  return file;
}

class TokenShardTest : public ::testing::Test {
 protected:
  std::string shard_bytes() {
    return read_file(write_shard(folder_ / "whole.tokens", {{1, 2, 3}, {4}, {5, 6, 7}}));
  }
  void expect_refused(const std::string& bytes, std::initializer_list<const char*> parts) {
    const auto path = folder_ / "bad.tokens";
    write_bytes(path, bytes);
    expect_error([&] { TokenShard::open(path); }, parts);
  }
  TemporaryFolder folder_;
};

TEST_F(TokenShardTest, GivesBackWhatWasWritten) {
  for (const int64_t vocab_size : {1000, 65536, 65537, 129280}) {
    const int64_t last = vocab_size - 1;
    const Documents documents = {{0, last, 5}, {7}, {last, last}};
    const auto shard = TokenShard::open(
        write_shard(folder_ / fmt::format("{}.tokens", vocab_size), documents, vocab_size));
    EXPECT_EQ(shard.bytes_per_token(), vocab_size <= 65536 ? 2 : 4);
    EXPECT_EQ(shard.vocab_size(), vocab_size);
    EXPECT_EQ(shard.tokenizer_hash(), kTestTokenizer);
    ASSERT_EQ(shard.num_tokens(), 6);
    ASSERT_EQ(shard.num_documents(), 3);
    std::vector<int64_t> tokens;
    for (int64_t i = 0; i < 6; ++i) tokens.push_back(shard.token(i));
    EXPECT_EQ(tokens, (std::vector<int64_t>{0, last, 5, 7, last, last}));
    EXPECT_EQ(shard.document_begin(0), 0);
    EXPECT_EQ(shard.document_begin(1), 3);
    EXPECT_EQ(shard.document_begin(2), 4);
    shard.verify();
  }
}

TEST_F(TokenShardTest, FindsTheDocumentOfEachToken) {
  const Documents documents = counting_documents(500, 13);
  const auto shard = TokenShard::open(write_shard(folder_ / "a.tokens", documents));
  int64_t index = 0;
  for (size_t d = 0; d < documents.size(); ++d) {
    for (size_t i = 0; i < documents[d].size(); ++i) {
      EXPECT_EQ(shard.document_of(index++), static_cast<int64_t>(d));
    }
  }
}

TEST_F(TokenShardTest, LongShardsSurviveTheWritersBuffer) {
  const Documents documents = counting_documents(60000, 5000);
  Documents many;
  for (int i = 0; i < 20; ++i) many.insert(many.end(), documents.begin(), documents.end());
  const auto shard = TokenShard::open(write_shard(folder_ / "long.tokens", many, 65536));
  ASSERT_EQ(shard.num_tokens(), 20 * 60000);
  for (int64_t i = 0; i < shard.num_tokens(); ++i) ASSERT_EQ(shard.token(i), i % 60000);
  shard.verify();
}

TEST_F(TokenShardTest, WithoutFinishNothingStays) {
  {
    TokenShardWriter writer(folder_ / "a.tokens", 1000, kTestTokenizer);
    writer.add(std::vector<int64_t>{1, 2, 3});
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

TEST_F(TokenShardTest, EveryTruncationIsRefused) {
  const std::string file = shard_bytes();
  for (size_t size = 0; size < file.size(); ++size) {
    expect_refused(file.substr(0, size), {"bad.tokens", size < 8 ? "no token shard" : "truncated"});
  }
}

TEST_F(TokenShardTest, OtherFilesAreRefused) {
  const std::string file = shard_bytes();
  expect_refused("Once upon a time", {"no token shard"});
  expect_refused(file + std::string(8, '\0'), {"112 bytes, expected 104"});
  expect_refused(with_header(file, 8, 2, 4), {"version 2", "expected 1"});
  expect_refused(with_header(file, 12, 4, 4), {"4 bytes per token for a vocabulary of 1000"});
  expect_refused(with_header(file, 16, uint64_t{1} << 62, 8), {"truncated"});
  expect_refused(with_header(file, 16, 0, 8), {"0 tokens in 3 documents"});
  expect_refused(with_header(file, 24, 8, 8), {"7 tokens in 8 documents"});
  expect_refused(with_header(file, 32, 0, 8), {"vocabulary of 0"});
  expect_refused(with_header(file, 32, uint64_t{1} << 60, 8), {"vocabulary of"});
  std::string damaged = file;
  damaged[40] = static_cast<char>(damaged[40] ^ 1);
  expect_refused(damaged, {"damaged header"});
  std::string late = file;
  late[80] = 1;  // the first document's beginning
  expect_refused(late, {"first document begins at token 1"});
}

TEST_F(TokenShardTest, VerifyFindsChangedData) {
  const std::string file = shard_bytes();
  for (size_t at = 64; at < file.size(); ++at) {
    std::string damaged = file;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    const auto parse = [&] {
      TokenShard::parse(std::as_bytes(std::span(damaged)), "memory").verify();
    };
    // The first document's beginning is looked at when the shard is opened.
    expect_error(parse, {"memory", at / 8 == 10 ? "begins at token" : "damaged: the CRC-32"});
  }
}

TEST_F(TokenShardTest, FoldersAreTheirShardsByName) {
  write_shard(folder_ / "b.tokens", {{1}});
  write_shard(folder_ / "a.tokens", {{1}});
  write_bytes(folder_ / "c.txt", "text");
  EXPECT_EQ(
      find_shards({folder_.path(), "x.tokens"}),
      (std::vector<std::filesystem::path>{folder_ / "a.tokens", folder_ / "b.tokens", "x.tokens"}));
  std::filesystem::create_directories(folder_ / "split/train");
  expect_error([&] { find_shards({folder_ / "split"}); }, {"split", "no token shards", "train"});
}

TEST(TokenizerHashTest, TellsTokenizersApart) {
  const std::filesystem::path root = DSV3_SOURCE_DIR;
  const auto stories = Tokenizer::from_file(root / "models/stories");
  const auto bare = Tokenizer::from_file(root / "models/stories/tokenizer.json");
  EXPECT_EQ(end_of_ids(stories), 4096);
  EXPECT_EQ(tokenizer_hash(stories), tokenizer_hash(Tokenizer::from_file(root / "models/stories")));
  EXPECT_NE(tokenizer_hash(stories), tokenizer_hash(bare)) << "the one without BOS and EOS";
}

}  // namespace
}  // namespace dsv3::training
