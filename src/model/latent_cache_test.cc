#include "model/latent_cache.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "formats/float_formats.h"

namespace dsv3::model {
namespace {

constexpr int64_t kLayers = 2, kWidth = 3, kPage = ops::kPageTokens;

ops::LatentLayout layout(DType dtype) { return {.dtype = dtype, .rank = 2, .rope = 1}; }

// What a layer and token hold in these tests.
float value(int64_t layer, int64_t token, float tag) {
  return tag + static_cast<float>(1000 * layer + token);
}

void append(LatentCache& cache, int64_t n, float tag = 0) {
  cache.prepare(n);
  for (int64_t t = cache.length(); t < cache.length() + n; ++t) {
    for (int64_t l = 0; l < kLayers; ++l) {
      const float v = value(l, t, tag);
      const float row[kWidth] = {v, -v, 0.5f};
      cache.store(l, t, row);
    }
  }
  cache.commit(n);
}

float first_of(const LatentCache& cache, int64_t layer, int64_t token) {
  return static_cast<const float*>(
      cache.pages(layer, token + 1)[token / kPage])[token % kPage * kWidth];
}

TEST(LatentCacheTest, HoldsWhatWasStored) {
  LatentCache cache(kLayers, layout(DType::kF32));
  append(cache, 1);
  append(cache, kPage - 1);
  append(cache, 2 * kPage + 5);
  EXPECT_EQ(cache.length(), 3 * kPage + 5);
  for (int64_t l = 0; l < kLayers; ++l) {
    for (int64_t t = 0; t < cache.length(); ++t) ASSERT_EQ(first_of(cache, l, t), value(l, t, 0));
  }
}

TEST(LatentCacheTest, GrowsByPagesAndFreesThemWhenCropped) {
  LatentCache cache(kLayers, layout(DType::kF32));
  const int64_t page_bytes = kLayers * kPage * kWidth * 4;
  EXPECT_EQ(cache.bytes(), 0);
  append(cache, kPage);
  EXPECT_EQ(cache.bytes(), page_bytes);
  append(cache, 1);
  EXPECT_EQ(cache.bytes(), 2 * page_bytes);
  EXPECT_EQ(cache.pages(0, kPage).size(), 1u);
  EXPECT_EQ(cache.pages(0, kPage + 1).size(), 2u);
  cache.crop(kPage);
  EXPECT_EQ(cache.bytes(), page_bytes);
  cache.crop(0);
  EXPECT_EQ(cache.bytes(), 0);
  EXPECT_TRUE(cache.pages(0, 0).empty());
}

TEST(LatentCacheTest, PreparedTokensDoNotCountUntilCommitted) {
  LatentCache cache(kLayers, layout(DType::kF32));
  append(cache, 10);
  cache.prepare(kPage);
  const float wrong[kWidth] = {-1, -1, -1};
  cache.store(0, 10, wrong);
  EXPECT_EQ(cache.length(), 10);
  append(cache, kPage);
  EXPECT_EQ(first_of(cache, 0, 10), value(0, 10, 0));
}

TEST(LatentCacheTest, CapacityIsAllocatedOnceAndIsALimit) {
  LatentCache cache(kLayers, layout(DType::kF32), kPage + 1);
  const int64_t bytes = cache.bytes();
  EXPECT_EQ(bytes, 2 * kLayers * kPage * kWidth * 4);
  append(cache, kPage + 1);
  EXPECT_THROW(cache.prepare(1), Error);
  EXPECT_EQ(cache.length(), kPage + 1);
  cache.crop(0);
  EXPECT_EQ(cache.bytes(), bytes);
  append(cache, kPage + 1, 0.5f);
  EXPECT_EQ(first_of(cache, 1, kPage), value(1, kPage, 0.5f));
}

TEST(LatentCacheTest, ACopyIsWrittenWithoutTouchingTheOriginal) {
  for (const std::optional<int64_t> capacity :
       {std::optional<int64_t>(), std::optional<int64_t>(3 * kPage)}) {
    LatentCache original(kLayers, layout(DType::kF32), capacity);
    append(original, kPage + 10);
    LatentCache copy = original;
    // Whole pages stay shared; only the last one is written to.
    EXPECT_EQ(copy.pages(0, kPage + 10), original.pages(0, kPage + 10));
    append(copy, 5, 0.25f);
    EXPECT_EQ(copy.pages(0, 1), original.pages(0, 1));
    EXPECT_NE(copy.pages(0, kPage + 10)[1], original.pages(0, kPage + 10)[1]);
    const auto last_page = original.pages(0, kPage + 10)[1];
    append(original, 5, 0.75f);
    EXPECT_EQ(original.pages(0, kPage + 15)[1], last_page) << "the only owner writes in place";
    for (int64_t l = 0; l < kLayers; ++l) {
      for (int64_t t = 0; t < kPage + 15; ++t) {
        ASSERT_EQ(first_of(copy, l, t), value(l, t, t < kPage + 10 ? 0 : 0.25f));
        ASSERT_EQ(first_of(original, l, t), value(l, t, t < kPage + 10 ? 0 : 0.75f));
      }
    }
  }
}

TEST(LatentCacheTest, RewindingACopyAndWritingOverKeepsTheOriginal) {
  LatentCache original(kLayers, layout(DType::kF32));
  append(original, 3 * kPage);
  LatentCache copy = original;
  copy.crop(kPage + 7);
  append(copy, kPage, 0.5f);
  for (int64_t t = 0; t < 3 * kPage; ++t) ASSERT_EQ(first_of(original, 1, t), value(1, t, 0));
  for (int64_t t = 0; t < copy.length(); ++t)
    ASSERT_EQ(first_of(copy, 1, t), value(1, t, t < kPage + 7 ? 0 : 0.5f));
}

TEST(LatentCacheTest, Bf16RoundsToNearestEven) {
  LatentCache cache(1, layout(DType::kBF16));
  cache.prepare(1);
  const float row[kWidth] = {1.0f, 1.00390625f,
                             -3.14159265f};  // 1 + 2^-8 lies between two, the even one is 1
  cache.store(0, 0, row);
  cache.commit(1);
  const auto* stored = static_cast<const uint16_t*>(cache.pages(0, 1)[0]);
  EXPECT_EQ(formats::bf16_to_float(stored[0]), 1.0f);
  EXPECT_EQ(formats::bf16_to_float(stored[1]), 1.0f);
  EXPECT_EQ(formats::bf16_to_float(stored[2]), -3.140625f);
}

TEST(LatentCacheTest, RefusesOtherTypesAndCropsBeyondItsLength) {
  EXPECT_THROW(LatentCache(1, layout(DType::kF16)), Error);
  LatentCache cache(kLayers, layout(DType::kF32));
  append(cache, 4);
  EXPECT_THROW(cache.crop(5), Error);
  EXPECT_THROW(cache.crop(-1), Error);
  EXPECT_EQ(cache.length(), 4);
}

}  // namespace
}  // namespace dsv3::model
