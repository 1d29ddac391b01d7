#include "benchmark/random_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/error.h"
#include "benchmark/test_configs.h"
#include "model/pretrained.h"

namespace dsv3::benchmark {
namespace {

TEST(RandomModelTest, EveryTypeGivesFiniteLogits) {
  for (const std::string& type : random_model_types()) {
    SCOPED_TRACE(type);
    const auto model = random_model(small_config(), type, {});
    ForwardArgs args;
    args.input_ids = Tensor::from({1, 2, 3, 300, 5, 6, 7, 8}, {1, 8});
    const ModelOutput out = model.forward(args);
    double squares = 0;
    for (const float x : out.logits.as<float>()) {
      ASSERT_TRUE(std::isfinite(x));
      squares += x * x;
    }
    EXPECT_GT(squares, 0);
  }
}

TEST(RandomModelTest, TypesAreThoseOfTheMixture) {
  const auto model = random_model(small_config(), "Q4_K_M", {});
  const model::ModelWeights& w = model.loaded().weights;
  EXPECT_EQ(w.embed_tokens.weight.dtype(), DType::kQ4_K);
  EXPECT_EQ(w.lm_head.weight.dtype(), DType::kQ6_K);
  EXPECT_EQ(w.layers[1].moe.gate.weight.dtype(), DType::kF32);
  EXPECT_EQ(w.layers[1].moe.experts[3].gate_proj.weight.dtype(), DType::kQ4_K);
  EXPECT_EQ(w.layers[2].moe.experts[3].down_proj.weight.dtype(), DType::kQ6_K);
  EXPECT_EQ(w.layers[0].input_layernorm.dtype(), DType::kF32);
}

TEST(RandomModelTest, Fp8HasScalesAndTakesQuantisedActivations) {
  LoadOptions options;
  options.fp8_activations = Fp8Mode::kDynamic;
  const auto model = random_model(small_config(), "F8_E4M3", options);
  const model::ModelWeights& w = model.loaded().weights;
  const ops::LinearWeight& down = w.layers[0].mlp.down_proj;
  EXPECT_EQ(down.weight.dtype(), DType::kF8E4M3);
  EXPECT_EQ(down.scale_inv.shape(), (Shape{2, 4}));
  EXPECT_EQ(w.lm_head.weight.dtype(), DType::kBF16);
  EXPECT_EQ(w.layers[1].moe.gate.weight.dtype(), DType::kBF16);
}

TEST(RandomModelTest, TokensGoToManyExperts) {
  const auto model = random_model(small_config(), "Q8_0", {});
  const model::LoadedModel& loaded = model.loaded();
  const DeepseekV3Config& c = loaded.config;
  constexpr int64_t kTokens = 64;
  std::vector<float> memory(2 * kTokens * c.hidden_size);
  const Matrix x(memory.data(), kTokens, c.hidden_size);
  std::vector<int64_t> ids, positions;
  for (int64_t i = 0; i < kTokens; ++i) {
    ids.push_back(i * 5);
    positions.push_back(i);
  }
  embed_tokens(loaded.weights, ids, x);
  model::LatentCache cache(c.num_hidden_layers, model::latent_layout(c, DType::kF32));
  const model::BatchSequence sequence{&cache, kTokens};
  std::set<int32_t> used;
  model::ForwardObserver observer;
  observer.routing = [&](int64_t, const ops::Routing& r) {
    used.insert(r.experts.begin(), r.experts.end());
  };
  forward(c, loaded.weights, loaded.options,
          {.sequences = std::span(&sequence, 1), .positions = positions, .embeddings = x},
          Matrix(x.row(kTokens), kTokens, c.hidden_size), observer);
  EXPECT_GE(used.size(), 12u);  // of 16
}

TEST(RandomModelTest, WhatCannotBeMadeIsRefused) {
  EXPECT_THROW(random_model(small_config(), "Q9_X", {}), Error);
  LoadOptions convert;
  convert.dtype = WeightDType::kFloat32;
  EXPECT_THROW(random_model(small_config(), "Q8_0", convert), Error);
  DeepseekV3Config huge = small_config();
  huge.vocab_size = int64_t{1} << 40;
  EXPECT_THROW(random_model(huge, "F32", {}), Error);
}

}  // namespace
}  // namespace dsv3::benchmark
