// Greedy search on the story model against transformers' own.
#include <gtest/gtest.h>

#include "base/json.h"
#include "dsv3/generation.h"
#include "generation/engine_lm.h"

namespace dsv3 {
namespace {

const std::filesystem::path kStories = std::filesystem::path(DSV3_SOURCE_DIR) / "models/stories";

GenerationResult greedy(const LoadOptions& options,
                        const std::vector<std::vector<int64_t>>& prompts, int64_t prefill_chunk,
                        std::optional<int64_t> capacity = {}) {
  generation::EngineLm engine(DeepseekV3ForCausalLM::from_pretrained(kStories, options),
                              {.cache_capacity = capacity});
  GenerationRequest request;
  request.prompts = prompts;
  request.config.max_new_tokens = 64;
  request.prefill_chunk = prefill_chunk;
  return generate(engine, request);
}

struct Expected {
  std::vector<std::vector<int64_t>> prompts, tokens;
};
Expected expected() {
  Expected e;
  const Json all = read_json_file(kStories / "expected.json");
  for (const Json& prompt : all["prompts"]) {
    e.prompts.push_back(prompt["ids"]);
    e.tokens.push_back(prompt["greedy_ids"]);
  }
  return e;
}

TEST(StoriesGenerationTest, GreedyTokensOfABatchEqualTransformers) {
  const Expected e = expected();
  for (const LoadOptions& options : {LoadOptions{}, LoadOptions{.dtype = WeightDType::kFloat32},
                                     LoadOptions{.attention = AttentionForm::kExpanded},
                                     LoadOptions{.attention = AttentionForm::kAbsorbed}}) {
    const GenerationResult result = greedy(options, e.prompts, 512);
    for (size_t i = 0; i < e.prompts.size(); ++i)
      EXPECT_EQ(result.sequences[i].tokens, e.tokens[i]);
  }
}

TEST(StoriesGenerationTest, ASequenceAloneGivesTheSameTokensAsInABatch) {
  const Expected e = expected();
  for (size_t i = 0; i < e.prompts.size(); ++i) {
    EXPECT_EQ(greedy({}, {e.prompts[i]}, 512).sequences[0].tokens, e.tokens[i]);
  }
}

TEST(StoriesGenerationTest, PromptChunksAndStaticCacheGiveTheSameTokens) {
  const Expected e = expected();
  for (const int64_t chunk : {1, 3, 7}) {
    const GenerationResult result = greedy({}, e.prompts, chunk, 100);
    for (size_t i = 0; i < e.prompts.size(); ++i)
      EXPECT_EQ(result.sequences[i].tokens, e.tokens[i]);
  }
}

TEST(StoriesGenerationTest, TheEndOfTheCacheEndsTheSequence) {
  const Expected e = expected();
  const GenerationResult result = greedy({}, {e.prompts[0]}, 512, 30);
  EXPECT_EQ(result.sequences[0].finish_reason, FinishReason::kLength);
  EXPECT_GE(result.sequences[0].tokens.size(), 30 - e.prompts[0].size());
  EXPECT_LE(result.sequences[0].tokens.size(), 31 - e.prompts[0].size());
}

}  // namespace
}  // namespace dsv3
