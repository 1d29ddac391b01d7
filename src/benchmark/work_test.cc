#include "benchmark/work.h"

#include <gtest/gtest.h>

#include "benchmark/random_model.h"
#include "benchmark/test_configs.h"

namespace dsv3::benchmark {
namespace {

// Sizes of small_config(), by hand.
constexpr double kHidden = 256, kVocab = 320, kLayers = 3, kMoeLayers = 2, kHeads = 4;
constexpr double kQueryWidth = 64 + 32, kValueWidth = 64, kCacheWidth = 256 + 32;
constexpr double kAttention = 256 * kHidden +                      // q_a_proj
                              kHeads * kQueryWidth * 256 +         // q_b_proj
                              kCacheWidth * kHidden +              // kv_a_proj_with_mqa
                              kHeads * (64 + kValueWidth) * 256 +  // kv_b_proj
                              kHidden * kHeads * kValueWidth;      // o_proj
constexpr double kExpert = 3 * 256 * kHidden, kDense = 3 * 512 * kHidden, kRouter = 16 * kHidden;
constexpr double kFixed = kLayers * kAttention + kDense + kMoeLayers * (kExpert + kRouter);
constexpr double kHead = kVocab * kHidden;
constexpr double kNorms = kLayers * (2 * kHidden + 256 + 256) + kHidden, kBias = kMoeLayers * 16;

TEST(WorkTest, ATokenReadsWhatItUses) {
  const auto model = random_model(small_config(), "F32", {});
  const WorkCounter counter(model.loaded(), 100);
  const Work work =
      counter.of({.sequences = {{.past = 7, .n_tokens = 1}}, .experts_used = {0, 4, 4}});
  EXPECT_EQ(work.weight_bytes,
            4 * (kFixed + kHead + kNorms + kBias + kMoeLayers * 4 * kExpert + kHidden));
  EXPECT_EQ(work.cache_bytes, 8 * 100);
  EXPECT_EQ(work.operations, 2 * (kFixed + kMoeLayers * 4 * kExpert + kHead) +
                                 8 * 2 * kLayers * kHeads * (kQueryWidth + kValueWidth));
  EXPECT_EQ(counter.active_parameters(), kFixed + kMoeLayers * 4 * kExpert + kHead);
}

TEST(WorkTest, SeveralTokensShareWeightsButNotCalculations) {
  const auto model = random_model(small_config(), "F32", {});
  const WorkCounter counter(model.loaded(), 100);
  const Work one = counter.of({.sequences = {{0, 1}}, .experts_used = {0, 4, 4}});
  const Work two = counter.of({.sequences = {{0, 1}, {0, 1}}, .experts_used = {0, 7, 5}});
  EXPECT_EQ(two.weight_bytes - one.weight_bytes, 4 * (4 * kExpert + kHidden));
  EXPECT_EQ(two.cache_bytes, 2 * one.cache_bytes);
  EXPECT_EQ(two.operations, 2 * one.operations);
}

TEST(WorkTest, APromptsTokensSeeThoseBeforeThem) {
  const auto model = random_model(small_config(), "F32", {});
  const WorkCounter counter(model.loaded(), 1);
  const Work work = counter.of({.sequences = {{.past = 10, .n_tokens = 3}}, .experts_used = {}});
  const double keys = 11 + 12 + 13;
  EXPECT_EQ(work.operations, 2 * 3 * (kFixed + kMoeLayers * 4 * kExpert) + 2 * kHead +
                                 keys * 2 * kLayers * kHeads * (kQueryWidth + kValueWidth));
  EXPECT_EQ(work.cache_bytes, 13);
}

TEST(WorkTest, BlocksAreCountedAsStored) {
  const auto f32 = random_model(small_config(), "F32", {});
  const auto q8 = random_model(small_config(), "Q8_0", {});
  const WorkCounter a(f32.loaded(), 0), b(q8.loaded(), 0);
  EXPECT_EQ(a.parameters(), b.parameters());
  EXPECT_EQ(a.weight_bytes(), 4 * a.parameters());
  const double narrow = 4 * (kNorms + kBias + kMoeLayers * kRouter) +
                        34.0 / 32 * (b.parameters() - kNorms - kBias - kMoeLayers * kRouter);
  EXPECT_EQ(b.weight_bytes(), narrow);
}

TEST(WorkTest, TiedEmbeddingsAreReadByTheHead) {
  DeepseekV3Config config = small_config();
  config.tie_word_embeddings = true;
  const auto tied = random_model(config, "F32", {});
  const auto untied = random_model(small_config(), "F32", {});
  const WorkCounter a(tied.loaded(), 0), b(untied.loaded(), 0);
  const Pass pass{.sequences = {{0, 1}}, .experts_used = {0, 4, 4}};
  EXPECT_EQ(a.of(pass).weight_bytes, b.of(pass).weight_bytes);
  EXPECT_EQ(a.of(pass).operations, b.of(pass).operations);
  EXPECT_EQ(a.parameters() + kHead, b.parameters());
}

}  // namespace
}  // namespace dsv3::benchmark
