#include "training/window_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/file.h"
#include "checkpoint/test_files.h"
#include "training/permutation.h"
#include "training/test_shards.h"

namespace dsv3::training {
namespace {

TEST(PermutationTest, EachPlaceComesOnce) {
  for (const int64_t size : {1, 2, 3, 4, 5, 16, 17, 100, 1000, 4097}) {
    for (const uint64_t stream : {0, 1, 2}) {
      const Permutation permutation(size, 7, stream);
      std::vector<bool> seen(static_cast<size_t>(size));
      for (int64_t i = 0; i < size; ++i) {
        const int64_t place = permutation(i);
        ASSERT_TRUE(place >= 0 && place < size);
        EXPECT_FALSE(seen[static_cast<size_t>(place)]) << place << " of " << size;
        seen[static_cast<size_t>(place)] = true;
      }
    }
  }
}

TEST(PermutationTest, HugeSizesStayInside) {
  const int64_t size = (int64_t{1} << 50) + 12345;
  const Permutation permutation(size, 1, 2);
  std::set<int64_t> places;
  for (int64_t i = 0; i < 1000; ++i) {
    const int64_t place = permutation(i);
    ASSERT_TRUE(place >= 0 && place < size);
    places.insert(place);
  }
  EXPECT_EQ(places.size(), 1000u);
}

// Neighbours must not stay neighbours, and seeds and streams must differ.
TEST(PermutationTest, Shuffles) {
  constexpr int64_t kSize = 10000;
  const Permutation a(kSize, 1, 0), b(kSize, 2, 0), c(kSize, 1, 1);
  int64_t near = 0, same = 0;
  double products = 0;
  for (int64_t i = 0; i < kSize; ++i) {
    near += i > 0 && std::abs(a(i) - a(i - 1)) <= 1;
    same += (a(i) == i) + (a(i) == b(i)) + (a(i) == c(i));
    products += (static_cast<double>(i) - 4999.5) * (static_cast<double>(a(i)) - 4999.5);
  }
  // Of a random permutation about 2, 3, and a correlation of 0 with deviation 0.01.
  EXPECT_LT(near, 12);
  EXPECT_LT(same, 16);
  EXPECT_LT(std::abs(products / (kSize * (double{kSize} * kSize - 1) / 12)), 0.05);
}

class WindowReaderTest : public ::testing::Test {
 protected:
  /// Three shards; token i of the stream is i, and document_of_ says which document it is in.
  void SetUp() override {
    int64_t first = 0;
    for (const int64_t tokens : {100, 3, 220}) {
      const Documents documents = counting_documents(tokens, 9, first);
      write_shard(folder_ / fmt::format("{}.tokens", document_of_.size()), documents);
      for (const auto& document : documents) {
        document_of_.insert(document_of_.end(), document.size(), ++documents_);
      }
      first += tokens;
    }
    std::filesystem::rename(folder_ / "0.tokens", folder_ / "000.tokens");
  }
  WindowReaderOptions options(int64_t sequence_length, bool shuffle = true) const {
    return {.shards = {folder_.path()},
            .sequence_length = sequence_length,
            .vocab_size = 1000,
            .seed = 3,
            .shuffle = shuffle};
  }
  void expect_of_stream(const Window& window, int64_t begin, int64_t sequence_length) const {
    ASSERT_EQ(static_cast<int64_t>(window.tokens.size()), sequence_length + 1);
    ASSERT_EQ(window.documents.size(), window.tokens.size());
    for (size_t i = 0; i < window.tokens.size(); ++i) {
      const auto at = static_cast<size_t>(begin) + i;
      EXPECT_EQ(window.tokens[i], static_cast<int32_t>(at));
      EXPECT_EQ(window.documents[i], document_of_[at] - document_of_[static_cast<size_t>(begin)]);
    }
  }
  TemporaryFolder folder_;
  std::vector<int32_t> document_of_;
  int32_t documents_ = 0;
};

TEST_F(WindowReaderTest, EachWindowComesOnceAnEpochAndIsWhatTheStreamHas) {
  for (const int64_t length : {1, 2, 7, 16, 100, 161}) {
    for (const bool shuffle : {true, false}) {
      const WindowReader reader(options(length, shuffle));
      EXPECT_EQ(reader.num_tokens(), 323);
      const int64_t n = reader.windows_per_epoch();
      EXPECT_EQ(n, (323 - length) / length);
      std::set<int64_t> offsets;
      for (int64_t epoch = 0; epoch < 3; ++epoch) {
        std::vector<int64_t> begins;
        for (int64_t i = 0; i < n; ++i) {
          const Window window = reader.window(epoch * n + i);
          begins.push_back(window.tokens[0]);
          expect_of_stream(window, begins.back(), length);
        }
        EXPECT_TRUE(shuffle || std::is_sorted(begins.begin(), begins.end()));
        std::sort(begins.begin(), begins.end());
        ASSERT_LT(begins[0], length);
        for (int64_t i = 0; i < n; ++i) EXPECT_EQ(begins[i], begins[0] + i * length);
        offsets.insert(begins[0]);
        EXPECT_TRUE(shuffle || epoch > 0 || begins[0] == 0);
      }
      EXPECT_EQ(offsets.size(), std::min<size_t>(3, static_cast<size_t>(length)))
          << "epochs begin at different offsets";
    }
  }
}

TEST_F(WindowReaderTest, EpochsAndSeedsDifferInOrder) {
  WindowReaderOptions other = options(4);
  other.seed = 4;
  const WindowReader reader(options(4)), reseeded(other);
  const auto order = [](const WindowReader& r, int64_t epoch) {
    std::vector<int64_t> places;
    for (int64_t i = 0; i < r.windows_per_epoch(); ++i) {
      places.push_back(r.window(epoch * r.windows_per_epoch() + i).tokens[0] / 4);
    }
    return places;
  };
  EXPECT_NE(order(reader, 0), order(reader, 1));
  EXPECT_NE(order(reader, 0), order(reseeded, 0));
}

TEST_F(WindowReaderTest, AWindowDependsOnItsNumberAlone) {
  const WindowReader reader(options(8));
  std::map<int64_t, std::vector<int32_t>> seen;
  for (const int64_t number : {0, 500, 3, 77, 123456789})
    seen[number] = reader.window(number).tokens;
  const WindowReader again(options(8));
  for (auto it = seen.rbegin(); it != seen.rend(); ++it) {
    EXPECT_EQ(again.window(it->first).tokens, it->second) << "window " << it->first;
  }
}

TEST_F(WindowReaderTest, TokensBeyondTheModelAreNamed) {
  WindowReaderOptions small = options(8, false);
  small.vocab_size = 102;
  const WindowReader reader(small);
  EXPECT_NO_THROW(reader.window(0));
  expect_error([&] { reader.window(12); }, {".tokens", "token 2 is 102", "vocab_size 102"});
}

TEST_F(WindowReaderTest, BadShardsAndOptionsAreRefused) {
  WindowReaderOptions bad = options(162);
  expect_error([&] { WindowReader reader(bad); }, {"323 tokens", "at least 324"});
  bad = options(0);
  expect_error([&] { WindowReader reader(bad); }, {"sequence_length is 0"});
  bad = options(8);
  bad.vocab_size = 0;
  expect_error([&] { WindowReader reader(bad); }, {"vocab_size is 0"});
  bad = options(8);
  bad.shards = {};
  expect_error([&] { WindowReader reader(bad); }, {"no token shards"});
  bad.shards = {folder_ / "absent.tokens"};
  expect_error([&] { WindowReader reader(bad); }, {"absent.tokens", "cannot open"});
  expect_error([&] { WindowReader(options(8)).window(-1); }, {"window -1"});

  const auto truncated = folder_ / "truncated.tokens";
  write_bytes(truncated, read_file(folder_ / "000.tokens").substr(0, 200));
  expect_error([&] { WindowReader reader(options(8)); }, {"truncated.tokens", "truncated: 200"});
  std::filesystem::remove(truncated);
  write_shard(folder_ / "other.tokens", {{1, 2}}, 1000, 99);
  expect_error([&] { WindowReader reader(options(8)); },
               {"other.tokens", "another tokenizer", "000.tokens"});
}

// The offsets of documents are not read when a shard is opened; a wrong one must still not go by.
TEST_F(WindowReaderTest, DocumentsThatDoNotAscendAreRefused) {
  std::string file = read_file(write_shard(folder_ / "000.tokens", {{1, 2}, {3, 4}, {5, 6}}));
  file[file.size() - 8] = 2;  // where the last document begins, as the one before
  const auto path = folder_ / "wrong.tokens";
  write_bytes(path, file);
  WindowReaderOptions wrong = options(2, false);
  wrong.shards = {path};
  expect_error([&] { WindowReader(wrong).window(0); }, {"wrong.tokens", "document 2 begins"});
}

}  // namespace
}  // namespace dsv3::training
