// The story model against what transformers computes with it (models/stories/expected.json).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/file.h"
#include "base/json.h"
#include "dsv3/model.h"

namespace dsv3 {
namespace {

const std::filesystem::path kStories = std::filesystem::path(DSV3_SOURCE_DIR) / "models/stories";

Json expected() { return read_json_file(kStories / "expected.json"); }

TEST(StoriesTest, CrossEntropyOfTheValidationSlice) {
  const auto model = DeepseekV3ForCausalLM::from_pretrained(kStories);
  const std::string bytes = read_file(kStories / "valid_slice.bin");
  std::vector<int32_t> ids(bytes.size() / 4);
  std::memcpy(ids.data(), bytes.data(), ids.size() * 4);
  const Json valid = expected()["valid"];
  const int64_t windows = valid["windows"], context = valid["context"], batch = 13;
  double sum = 0;
  for (int64_t first = 0; first < windows; first += batch) {
    const int64_t rows = std::min(batch, windows - first);
    std::vector<int64_t> window;
    for (int64_t w = 0; w < rows; ++w) {
      const auto begin = ids.begin() + (first + w) * context;
      window.insert(window.end(), begin, begin + context + 1);
    }
    // Inputs and labels overlap by all but one token, so the last column only serves as a label.
    const Tensor input = Tensor::from(std::span<const int64_t>(window), {rows, context + 1});
    const auto out = model.forward({.input_ids = input, .labels = input, .use_cache = false});
    sum += out.loss.as<float>()[0] * static_cast<double>(rows);
  }
  EXPECT_NEAR(sum / static_cast<double>(windows), valid["mean_cross_entropy"].get<double>(), 1e-4);
}

TEST(StoriesTest, LogitsAfterThePrompts) {
  const auto model = DeepseekV3ForCausalLM::from_pretrained(kStories);
  const Json all = expected();
  for (const Json& prompt : all["prompts"]) {
    const std::vector<int64_t> ids = prompt["ids"];
    const auto out =
        model.forward({.input_ids = Tensor::from(std::span<const int64_t>(ids),
                                                 {1, static_cast<int64_t>(ids.size())}),
                       .logits_to_keep = 1});
    for (const Json& top : prompt["first_logits_top5"]) {
      EXPECT_NEAR(out.logits.as<float>()[top[0].get<int64_t>()], top[1].get<float>(), 2e-4);
    }
  }
}

TEST(StoriesTest, MtpModuleChoosesTheSameTokens) {
  const auto model = DeepseekV3ForCausalLM::from_pretrained(kStories, {.load_mtp = true});
  const Json all = expected();
  for (size_t i = 0; i < all["prompts"].size(); ++i) {
    std::vector<int64_t> ids = all["prompts"][i]["ids"];
    const std::vector<int64_t> greedy = all["prompts"][i]["greedy_ids"];
    ids.insert(ids.end(), greedy.begin(), greedy.end());
    const Tensor input =
        Tensor::from(std::span<const int64_t>(ids), {1, static_cast<int64_t>(ids.size())});
    const auto out = model.forward({.input_ids = input});
    const auto mtp = model.forward_mtp(input, out.last_hidden_state);
    const auto logits = mtp.logits.as<float>();
    const std::vector<int64_t> argmax = all["mtp"]["prompts"][i]["mtp_argmax"];
    const int64_t vocab = mtp.logits.dim(-1);
    for (size_t r = 0; r < argmax.size(); ++r) {
      const auto row = logits.subspan(r * vocab, vocab);
      EXPECT_EQ(std::max_element(row.begin(), row.end()) - row.begin(), argmax[r])
          << "prompt " << i << " row " << r;
    }
  }
}

}  // namespace
}  // namespace dsv3
