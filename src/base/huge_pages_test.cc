#include "base/huge_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <random>
#include <thread>

#include "base/file.h"
#include "base/memory.h"

namespace dsv3 {
namespace {

constexpr size_t kMegabyte = size_t{1} << 20;

class HugePagesTest : public testing::Test {
 protected:
  HugePagesTest() {
    std::mt19937_64 random(1);
    expected_.resize(41 * kMegabyte + 12345);
    for (size_t i = 0; i + 8 <= expected_.size(); i += 8) {
      const uint64_t word = random();
      std::memcpy(expected_.data() + i, &word, 8);
    }
    AtomicFile out(path_);
    out.write(std::span<const std::byte>(expected_));
    out.commit();
    file_ = MappedFile::open(path_);
  }
  ~HugePagesTest() override { std::filesystem::remove(path_); }

  MemoryRange range(size_t begin, size_t end) const {
    return {file_->data() + begin, file_->data() + end};
  }
  bool unchanged() const { return std::equal(expected_.begin(), expected_.end(), file_->data()); }

  std::filesystem::path path_ = testing::TempDir() + "/huge_pages_test.bin";
  std::vector<std::byte> expected_;
  std::shared_ptr<const MappedFile> file_;
};

TEST_F(HugePagesTest, WhatIsMovedStaysWhereItIs) {
  int64_t done = 0, total = 0;
  const size_t moved =
      move_to_huge_pages({range(5 * kMegabyte, 30 * kMegabyte), range(100, 200)}, false, true,
                         [&](int64_t d, int64_t t) { done = d, total = t; });
  if (moved == 0) GTEST_SKIP() << "no huge pages here";
  EXPECT_EQ(done, total);
  // Whole pieces around the range.
  EXPECT_GE(moved, 24 * kMegabyte);
  EXPECT_LE(moved, 36 * kMegabyte);
  EXPECT_TRUE(unchanged());
  // The file may change or go: what was moved belongs to the process.
  EXPECT_TRUE(has_replaced_pages(file_->data() + 7 * kMegabyte));
}

TEST_F(HugePagesTest, WhatIsMovedIsNotGivenBackToTheSystem) {
  const size_t moved =
      move_to_huge_pages({range(0, expected_.size())}, false, true, [](int64_t, int64_t) {});
  if (moved == 0) GTEST_SKIP() << "no huge pages here";
  release_mapped(file_->data(), file_->size());
  page_in_mapped(file_->data(), file_->size());
  EXPECT_TRUE(unchanged());
}

TEST_F(HugePagesTest, ReadersDoNotNotice) {
  std::atomic<bool> stop = false, differs = false;
  std::thread reader([&] {
    while (!stop) differs = differs || !unchanged();
  });
  move_to_huge_pages({range(0, expected_.size())}, false, true, [](int64_t, int64_t) {});
  stop = true;
  reader.join();
  EXPECT_FALSE(differs);
  EXPECT_TRUE(unchanged());
}

TEST_F(HugePagesTest, MemoryThatIsNoFileIsLeftAlone) {
  const std::byte* own = expected_.data();
  EXPECT_EQ(
      move_to_huge_pages({{own, own + expected_.size()}}, false, true, [](int64_t, int64_t) {}),
      0u);
  EXPECT_EQ(move_to_huge_pages({}, false, true, [](int64_t, int64_t) {}), 0u);
  // A file smaller than a piece.
  EXPECT_EQ(move_to_huge_pages({range(0, 0)}, false, true, [](int64_t, int64_t) {}), 0u);
}

}  // namespace
}  // namespace dsv3
