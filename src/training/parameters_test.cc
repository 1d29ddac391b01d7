#include "training/parameters.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "formats/float_formats.h"
#include "model/test_models.h"
#include "training/initialization.h"

namespace dsv3::training {
namespace {

Parameters parameters_of(const DeepseekV3Config& config,
                         TrainingDType dtype = TrainingDType::kFloat32) {
  return {config, dtype, model::Head::kCausalLm, true};
}

const Parameter* find(const Parameters& parameters, const std::string& name) {
  for (const Parameter& p : parameters.all()) {
    if (p.name == name) return &p;
  }
  return nullptr;
}

TEST(ParametersTest, AreAllTensorsButCorrectionBiasesAndCopiesAndDoNotOverlap) {
  DeepseekV3Config config = tiny_config();
  config.num_nextn_predict_layers = 2;
  const Parameters parameters = parameters_of(config);
  model::ModelWeights weights;
  std::set<std::string> expected, found, biases;
  for (const auto& slot : model::enumerate_tensors(config, model::Head::kCausalLm, true, weights)) {
    if (slot.role == model::TensorRole::kCorrectionBias) {
      biases.insert(slot.name);
    } else if (!slot.optional) {
      expected.insert(slot.name);
    }
  }
  int64_t end = 0, count = 0;
  for (const Parameter& p : parameters.all()) {
    found.insert(p.name);
    EXPECT_GE(p.begin, end) << p.name;
    EXPECT_EQ(p.begin % 16, 0) << p.name;
    end = p.begin + p.count;
    count += p.count;
    EXPECT_EQ(p.vector, p.shape.size() == 1) << p.name;
  }
  EXPECT_EQ(found, expected);
  EXPECT_EQ(parameters.count(), count);
  EXPECT_LE(end, parameters.size());
  // Of layer 1 and of the modules, which are layers 2 and 3.
  ASSERT_EQ(parameters.biases.size(), 3U);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(parameters.biases[i].layer, static_cast<int64_t>(i) + 1);
    EXPECT_TRUE(biases.contains(parameters.biases[i].name));
  }
}

TEST(ParametersTest, WeightsAndGradientsAreViewsOfTheArrays) {
  DeepseekV3Config config = tiny_config();
  config.num_nextn_predict_layers = 1;
  Parameters parameters = parameters_of(config);
  const Parameter* norm = find(parameters, "model.norm.weight");
  ASSERT_NE(norm, nullptr);
  parameters.masters()[norm->begin + 3] = 7;
  EXPECT_EQ(parameters.weights.norm.as<float>()[3], 7);
  parameters.gradients.norm.as_mutable<float>()[2] = 5;
  EXPECT_EQ(parameters.gradient()[norm->begin + 2], 5);
  parameters.clear_gradient();
  EXPECT_EQ(parameters.gradients.norm.as<float>()[2], 0);

  // Modules share embedding and head with the main model.
  EXPECT_EQ(parameters.weights.mtp[0].embed_tokens.weight.raw(),
            parameters.weights.embed_tokens.weight.raw());
  EXPECT_EQ(parameters.weights.mtp[0].shared_head.weight.raw(),
            parameters.weights.lm_head.weight.raw());
  EXPECT_NE(parameters.weights.lm_head.weight.raw(), parameters.weights.embed_tokens.weight.raw());
}

TEST(ParametersTest, TiedHeadIsTheEmbedding) {
  DeepseekV3Config config = tiny_config();
  config.tie_word_embeddings = true;
  const Parameters parameters = parameters_of(config);
  EXPECT_EQ(find(parameters, "lm_head.weight"), nullptr);
  EXPECT_EQ(parameters.weights.lm_head.weight.raw(), parameters.weights.embed_tokens.weight.raw());
  EXPECT_EQ(parameters.gradients.lm_head.weight.raw(),
            parameters.gradients.embed_tokens.weight.raw());
}

TEST(ParametersTest, Bfloat16WeightsAreRoundedMastersAndNormsAndRouterStayFloat32) {
  const DeepseekV3Config config = tiny_config();
  Parameters parameters = parameters_of(config, TrainingDType::kBFloat16);
  initialize(config, 3, parameters);
  for (const Parameter& p : parameters.all()) {
    const uint16_t* rounded = parameters.bf16(p);
    const bool gate = p.name.ends_with("mlp.gate.weight");
    ASSERT_EQ(rounded != nullptr, !p.vector && !gate) << p.name;
    for (int64_t i = 0; rounded != nullptr && i < p.count; ++i)
      ASSERT_EQ(rounded[i], formats::float_to_bf16(parameters.masters()[p.begin + i])) << p.name;
  }
  EXPECT_EQ(parameters.weights.embed_tokens.weight.dtype(), DType::kBF16);
  EXPECT_EQ(parameters.weights.norm.dtype(), DType::kF32);
  EXPECT_EQ(parameters.weights.layers[1].moe.gate.weight.dtype(), DType::kF32);
}

TEST(InitializationTest, IsNormalOfTheConfiguredDeviationWithNormsOneAndPaddingZero) {
  DeepseekV3Config config = tiny_config();
  config.vocab_size = 500;
  config.initializer_range = 0.05;
  config.pad_token_id = 9;
  Parameters parameters = parameters_of(config);
  initialize(config, 3, parameters);
  for (const Parameter& p : parameters.all()) {
    const auto values = std::as_const(parameters).masters().subspan(p.begin, p.count);
    if (p.vector) {
      for (const float x : values) ASSERT_EQ(x, 1) << p.name;
      continue;
    }
    double sum = 0, squares = 0;
    for (const float x : values) sum += x, squares += double{x} * x;
    const auto n = static_cast<double>(p.count);
    const double zeros =
        p.name == "model.embed_tokens.weight" ? static_cast<double>(config.hidden_size) : 0;
    // Five standard errors of a mean and of a mean square.
    EXPECT_NEAR(sum / n, 0, 5 * 0.05 / std::sqrt(n)) << p.name;
    EXPECT_NEAR(squares / (n - zeros) / (0.05 * 0.05), 1, 5 * std::sqrt(2 / n)) << p.name;
  }
  const auto embedding = parameters.weights.embed_tokens.weight.as<float>();
  for (int64_t i = 0; i < config.hidden_size; ++i)
    EXPECT_EQ(embedding[9 * config.hidden_size + i], 0);
  EXPECT_NE(embedding[8 * config.hidden_size], 0);
}

TEST(InitializationTest, DependsOnTheSeedAndTheNameAlone) {
  const DeepseekV3Config config = tiny_config();
  DeepseekV3Config deeper = config;
  deeper.num_hidden_layers = 3;
  Parameters a = parameters_of(config), b = parameters_of(deeper), c = parameters_of(config);
  {
    const ThreadCount count(1);
    initialize(config, 3, a);
  }
  initialize(deeper, 3, b);
  initialize(config, 4, c);
  for (const Parameter& p : a.all()) {
    const Parameter* other = find(b, p.name);
    ASSERT_NE(other, nullptr);
    const float* from = a.masters().data() + p.begin;
    EXPECT_TRUE(std::equal(from, from + p.count, b.masters().data() + other->begin)) << p.name;
    if (!p.vector) {
      EXPECT_FALSE(std::equal(from, from + p.count, c.masters().data() + p.begin)) << p.name;
    }
  }
}

}  // namespace
}  // namespace dsv3::training
