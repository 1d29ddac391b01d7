// Compares with what transformers 5.12.1 computed: testdata/make_reference.py,
// testdata/reference.json.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/json.h"
#include "dsv3/generation.h"
#include "generation/fake_lm.h"
#include "generation/scoring.h"

namespace dsv3::generation {
namespace {

const Json& reference() {
  static const Json json =
      read_json_file(DSV3_SOURCE_DIR "/src/generation/testdata/reference.json");
  return json;
}

std::vector<float> floats(const Json& json) {
  std::vector<float> values;
  for (const Json& v : json) {
    values.push_back(v.is_null() ? -std::numeric_limits<float>::infinity() : v.get<float>());
  }
  return values;
}

TEST(ReferenceTest, ProcessedScoresEqualTransformers) {
  for (const Json& c : reference()["processors"]) {
    SCOPED_TRACE(c["kwargs"].dump());
    GenerationConfig config;
    config.apply(c["kwargs"].dump());
    config.validate();
    const auto history = c["history"].get<std::vector<int64_t>>();
    const size_t width = c["prompt_width"].get<size_t>();
    std::vector<float> scores = floats(c["logits"]);
    const int64_t max_length = config.max_length.value_or(20 + static_cast<int64_t>(width));
    process_scores(config, {history, width}, max_length, scores, "row");
    const std::vector<float> expected = floats(c["scores"]);
    for (size_t i = 0; i < expected.size(); ++i) {
      if (std::isinf(expected[i]) || std::isinf(scores[i])) {
        EXPECT_EQ(scores[i], expected[i]) << "token " << i;
      } else {
        // A few units in the last place of log_softmax; everything else is exact.
        EXPECT_NEAR(scores[i], expected[i], config.renormalize_logits ? 2e-6 : 0) << "token " << i;
      }
    }
  }
}

TEST(ReferenceTest, GeneratedSequencesAndBeamScoresEqualTransformers) {
  for (const Json& c : reference()["generate"]) {
    SCOPED_TRACE(c["kwargs"].dump() + " vocabulary " + c["vocab_size"].dump());
    FakeLm model(c["vocab_size"].get<int64_t>());
    GenerationRequest request;
    request.config.apply(c["kwargs"].dump());
    request.input_ids = c["input_ids"].get<std::vector<std::vector<int64_t>>>();
    request.attention_mask = c["attention_mask"].get<std::vector<std::vector<int64_t>>>();
    request.prefill_chunk = 3;
    const GenerationResult result = generate(model, request);
    EXPECT_EQ(padded_sequences(request, result),
              c["sequences"].get<std::vector<std::vector<int64_t>>>());
    EXPECT_EQ(model.alive, 0);
    if (!c.contains("sequences_scores")) continue;
    const std::vector<float> scores = floats(c["sequences_scores"]);
    ASSERT_EQ(result.sequences.size(), scores.size());
    for (size_t i = 0; i < scores.size(); ++i) {
      EXPECT_NEAR(result.sequences[i].score, scores[i], 2e-6 * (1 + std::fabs(scores[i])))
          << "sequence " << i;
    }
  }
}

}  // namespace
}  // namespace dsv3::generation
