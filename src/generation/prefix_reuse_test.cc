#include "generation/prefix_reuse.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "dsv3/generation.h"
#include "generation/engine_lm.h"

namespace dsv3::generation {
namespace {

const std::filesystem::path kStories = std::filesystem::path(DSV3_SOURCE_DIR) / "models/stories";

class PrefixReuseTest : public testing::Test {
 protected:
  std::vector<int64_t> greedy(CausalLm& lm, std::vector<int64_t> prompt, int64_t chunk = 512) {
    GenerationRequest request;
    request.prompts = {std::move(prompt)};
    request.config.max_new_tokens = 12;
    request.prefill_chunk = chunk;
    return generate(lm, request).sequences[0].tokens;
  }

  EngineLm engine_{DeepseekV3ForCausalLM::from_pretrained(kStories, {.deterministic = true})};
  PrefixReusingLm reusing_{engine_};
};

TEST_F(PrefixReuseTest, TheSecondTurnReadsOnlyItsOwnTokens) {
  std::vector<int64_t> prompt = {0, 426, 432, 261, 399, 14, 402};
  const std::vector<int64_t> answer = greedy(reusing_, prompt);
  EXPECT_EQ(reusing_.take_reused_tokens(), 0);
  prompt.insert(prompt.end(), answer.begin(), answer.end());
  prompt.insert(prompt.end(), {285, 261, 393});
  const std::vector<int64_t> expected = greedy(engine_, prompt);
  EXPECT_EQ(greedy(reusing_, prompt), expected);
  // All of the first turn but its last token, which was chosen and never fed.
  EXPECT_EQ(reusing_.take_reused_tokens(), 7 + 11);
}

TEST_F(PrefixReuseTest, AnotherContinuationOfTheSamePrefix) {
  const std::vector<int64_t> first = {0, 426, 432, 261, 399, 14, 402, 285, 261, 393};
  const std::vector<int64_t> second = {0, 426, 432, 261, 399, 330, 496, 268};
  greedy(reusing_, first);
  EXPECT_EQ(greedy(reusing_, second), greedy(engine_, second));
  EXPECT_EQ(reusing_.take_reused_tokens(), 5);
  EXPECT_EQ(greedy(reusing_, {7, 8, 9}), greedy(engine_, {7, 8, 9}));
  EXPECT_EQ(reusing_.take_reused_tokens(), 0);
}

TEST_F(PrefixReuseTest, TheSamePromptAgainAndInChunks) {
  const std::vector<int64_t> prompt = {0, 426, 432, 261, 399, 14, 402, 285, 261, 393};
  const std::vector<int64_t> expected = greedy(engine_, prompt);
  for (const int64_t chunk : {512, 3, 1}) EXPECT_EQ(greedy(reusing_, prompt, chunk), expected);
  reusing_.take_reused_tokens();
  reusing_.forget();
  EXPECT_EQ(greedy(reusing_, prompt), expected);
  EXPECT_EQ(reusing_.take_reused_tokens(), 0);
}

TEST_F(PrefixReuseTest, ReusedTokensTakeNoForwardPass) {
  // A pass for each chunk that is known already would cost a long conversation seconds a turn.
  class Counting : public EngineLm {
   public:
    using EngineLm::EngineLm;
    void forward(std::span<const Step> steps, std::span<float> logits) override {
      ++passes;
      EngineLm::forward(steps, logits);
    }
    int passes = 0;
  };
  Counting counting(DeepseekV3ForCausalLM::from_pretrained(kStories));
  PrefixReusingLm lm(counting);
  std::vector<int64_t> prompt(60, 432);
  const std::vector<int64_t> answer = greedy(lm, prompt, 10);
  prompt.insert(prompt.end(), answer.begin(), answer.end());
  counting.passes = 0;
  const size_t made = greedy(lm, prompt, 10).size();
  EXPECT_EQ(lm.take_reused_tokens(), static_cast<int64_t>(60 + answer.size() - 1));
  EXPECT_EQ(counting.passes, static_cast<int>(made));
}

TEST_F(PrefixReuseTest, WhatAnErrorLeftHalfReadIsKept) {
  class Failing : public EngineLm {
   public:
    using EngineLm::EngineLm;
    void forward(std::span<const Step> steps, std::span<float> logits) override {
      if (passes_left-- == 0) throw std::runtime_error("stop");
      EngineLm::forward(steps, logits);
    }
    int passes_left = 3;
  };
  Failing failing(DeepseekV3ForCausalLM::from_pretrained(kStories));
  PrefixReusingLm lm(failing);
  const std::vector<int64_t> prompt(60, 432);
  EXPECT_THROW(greedy(lm, prompt, 10), std::runtime_error);
  failing.passes_left = 1000;
  greedy(lm, prompt, 10);
  EXPECT_EQ(lm.take_reused_tokens(), 30);
}

}  // namespace
}  // namespace dsv3::generation
