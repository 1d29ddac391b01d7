#include "benchmark/runner.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"
#include "benchmark/random_model.h"
#include "benchmark/test_configs.h"

namespace dsv3::benchmark {
namespace {

class RunnerTest : public testing::Test {
 protected:
  DeepseekV3ForCausalLM model_ = random_model(small_config(), "Q8_0", {});
  static void ignore(int) {}
};

TEST_F(RunnerTest, APromptIsReadInChunks) {
  const Runner runner(model_, {.prefill_chunk = 16, .repetitions = 3});
  const Measurement m = runner.run({.prompt = 40, .depth = 70}, ignore);
  EXPECT_EQ(m.seconds.size(), 3u);
  EXPECT_EQ(m.passes, 3);
  EXPECT_FALSE(m.profile);
  EXPECT_DOUBLE_EQ(m.rates()[0] * m.seconds[0], 40);
  // Three layers of float32 latents: after each chunk all tokens so far.
  EXPECT_EQ(m.work.cache_bytes, (86 + 102 + 110) * 3 * (256 + 32) * 4);
}

TEST_F(RunnerTest, SequencesDecodedTogetherReadMoreExperts) {
  const Runner runner(model_, {.repetitions = 1});
  const Measurement one = runner.run({.generated = 4}, ignore);
  const Measurement eight = runner.run({.generated = 4, .batch = 8}, ignore);
  EXPECT_EQ(one.passes, 4);
  EXPECT_EQ(eight.passes, 4);
  EXPECT_GT(eight.work.weight_bytes, one.work.weight_bytes);
  EXPECT_LT(eight.work.weight_bytes, 8 * one.work.weight_bytes);
  EXPECT_DOUBLE_EQ(eight.rates()[0] * eight.seconds[0], 32);
  const WorkCounter counter(model_.loaded(), 0);
  EXPECT_EQ(one.work.weight_bytes,
            4 * counter.of({.sequences = {{0, 1}}, .experts_used = {0, 4, 4}}).weight_bytes);
}

TEST_F(RunnerTest, TheProfileCoversTheOperators) {
  const Runner runner(model_, {.repetitions = 1, .profile = true});
  const Measurement m = runner.run({.generated = 4}, ignore);
  ASSERT_TRUE(m.profile);
  for (const auto op :
       {profile::Op::kEmbedding, profile::Op::kNorms, profile::Op::kQueries, profile::Op::kLatents,
        profile::Op::kAttention, profile::Op::kOutput, profile::Op::kRouter, profile::Op::kGateUp,
        profile::Op::kDown, profile::Op::kFeedForward, profile::Op::kHead}) {
    EXPECT_GT(m.profile->of(op), 0) << profile::op_name(op);
  }
}

TEST_F(RunnerTest, ProgressTellsRepetitionsAndMayEndThem) {
  const Runner runner(model_, {.repetitions = 2});
  std::vector<int> seen;
  runner.run({.prompt = 2}, [&](int i) { seen.push_back(i); });
  EXPECT_EQ(seen, (std::vector<int>{0, 1, 2}));
  EXPECT_THROW(runner.run({.prompt = 2}, [](int) { throw Error("enough"); }), Error);
}

TEST_F(RunnerTest, MoreTokensThanTheContextAreRefused) {
  const Runner runner(model_, {});
  runner.require_room({.prompt = 56, .depth = 200});
  EXPECT_THROW(runner.run({.prompt = 57, .depth = 200}, ignore), Error);
}

}  // namespace
}  // namespace dsv3::benchmark
