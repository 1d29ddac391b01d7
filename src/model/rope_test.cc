#include "model/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace dsv3::model {
namespace {

// The numbers below are those of transformers 5.12.1: DeepseekV3RotaryEmbedding's inv_freq and
// attention_scaling, DeepseekV3Attention's scaling.
DeepseekV3Config config_with(const RopeParameters& rope, int64_t rope_dim,
                             int64_t max_positions = 4096, int64_t nope = 16) {
  DeepseekV3Config config;
  config.rope_parameters = rope;
  config.qk_rope_head_dim = rope_dim;
  config.qk_nope_head_dim = nope;
  config.max_position_embeddings = max_positions;
  return config;
}

RopeParameters yarn() {
  RopeParameters rope;
  rope.rope_type = "yarn";
  rope.factor = 40;
  rope.original_max_position_embeddings = 4096;
  return rope;
}

void expect_frequencies(const DeepseekV3Config& config, const std::vector<double>& expected,
                        int64_t length = 1) {
  const RopeFrequencies found = rope_frequencies(config, length);
  ASSERT_EQ(found.inv_freq.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    // A float32 rounding or two: where exponents and ramps are rounded is not part of the rule.
    EXPECT_NEAR(found.inv_freq[i], expected[i], 3e-7 * expected[i]) << "pair " << i;
  }
}

TEST(RopeTest, DefaultIsPowersOfTheta) {
  const DeepseekV3Config config = config_with({}, 8);
  expect_frequencies(config, {1.0, 0.100000001, 0.00999999978, 0.00100000005}, 100000);
  EXPECT_EQ(rope_frequencies(config, 1).attention_scaling, 1);
  EXPECT_FLOAT_EQ(softmax_scale(config), 0.2041241452319315f);
}

TEST(RopeTest, LinearDividesFrequenciesByTheFactor) {
  RopeParameters rope;
  rope.rope_type = "linear";
  rope.rope_theta = 50000;
  rope.factor = 3;
  expect_frequencies(config_with(rope, 8),
                     {0.333333343, 0.0222913455, 0.00149071205, 9.96899253e-05});
  EXPECT_FLOAT_EQ(softmax_scale(config_with(rope, 8)), 0.2041241452319315f);
  // Attention's scale follows mscale_all_dim for every type but "default".
  rope.mscale_all_dim = 0.5;
  EXPECT_EQ(rope_frequencies(config_with(rope, 8), 1).attention_scaling, 1);
  EXPECT_FLOAT_EQ(softmax_scale(config_with(rope, 8)), 0.22716539323090995f);
  rope.rope_type = "default";
  EXPECT_FLOAT_EQ(softmax_scale(config_with(rope, 8)), 0.2041241452319315f);
}

TEST(RopeTest, DynamicGrowsOnlyBeyondMaxPositionEmbeddings) {
  RopeParameters rope;
  rope.rope_type = "dynamic";
  rope.factor = 2;
  const DeepseekV3Config config = config_with(rope, 8, 32);
  for (const int64_t length : {0, 1, 11, 32}) {
    expect_frequencies(config, {1.0, 0.100000001, 0.00999999978, 0.00100000005}, length);
  }
  expect_frequencies(config, {1.0, 0.097999461, 0.00960389432, 0.000941176491}, 33);
  expect_frequencies(config, {1.0, 0.0713765845, 0.00509461667, 0.000363636354}, 60);
  expect_frequencies(config, {1.0, 0.0253256895, 0.000641390448, 1.62436554e-05}, 1001);
}

TEST(YarnTest, FrequenciesOfTheOfficialModel) {
  RopeParameters rope = yarn();
  rope.mscale = rope.mscale_all_dim = 1.0;
  expect_frequencies(config_with(rope, 64, 163840, 128), {1.0,
                                                          0.749894202,
                                                          0.562341332,
                                                          0.421696514,
                                                          0.316227764,
                                                          0.237137362,
                                                          0.177827939,
                                                          0.133352146,
                                                          0.100000001,
                                                          0.0749894157,
                                                          0.0562341288,
                                                          0.0390069261,
                                                          0.0268793609,
                                                          0.0183781441,
                                                          0.012447956,
                                                          0.0083345091,
                                                          0.00550000044,
                                                          0.00356199732,
                                                          0.00224936521,
                                                          0.00137051346,
                                                          0.000790569407,
                                                          0.000414990413,
                                                          0.00017782794,
                                                          3.3338034e-05,
                                                          2.49999994e-05,
                                                          1.87473543e-05,
                                                          1.40585325e-05,
                                                          1.05424124e-05,
                                                          7.90569447e-06,
                                                          5.92843435e-06,
                                                          4.44569832e-06,
                                                          3.33380353e-06});
}

TEST(YarnTest, SoftmaxScaleAppliesBelowOriginalContext) {
  RopeParameters rope = yarn();
  rope.mscale = rope.mscale_all_dim = 1.0;
  // DeepSeek's demo applies it beyond 4096 tokens only; it belongs to the model at every length.
  const DeepseekV3Config config = config_with(rope, 64, 163840, 128);
  const double m = 0.1 * std::log(40.0) + 1;
  EXPECT_FLOAT_EQ(softmax_scale(config), static_cast<float>(m * m / std::sqrt(192.0)));
  EXPECT_FLOAT_EQ(softmax_scale(config), 0.1352337788608801f);
  const std::vector<float> near = rope_frequencies(config, 1).inv_freq;
  EXPECT_EQ(near, rope_frequencies(config, 4096).inv_freq);
  EXPECT_EQ(near, rope_frequencies(config, 163840).inv_freq);
}

TEST(YarnTest, AttentionScalingIsTheRatioOfBothScales) {
  RopeParameters rope = yarn();
  rope.mscale = rope.mscale_all_dim = 1.0;
  EXPECT_EQ(rope_frequencies(config_with(rope, 16), 1).attention_scaling, 1);
  rope.mscale = 0.7;
  rope.mscale_all_dim = 1.3;
  EXPECT_FLOAT_EQ(rope_frequencies(config_with(rope, 16), 1).attention_scaling,
                  0.8504057857806258f);
  EXPECT_FLOAT_EQ(softmax_scale(config_with(rope, 16)), 0.3869785071379716f);
}

TEST(YarnTest, WithoutBothScalesAttentionScalingIsThatOfThePaper) {
  for (const std::optional<double> mscale :
       {std::optional<double>(), std::optional<double>(0.7), std::optional(0.0)}) {
    RopeParameters rope = yarn();
    rope.mscale = mscale;
    EXPECT_FLOAT_EQ(rope_frequencies(config_with(rope, 16), 1).attention_scaling,
                    1.3688879454113936f);
    EXPECT_FLOAT_EQ(softmax_scale(config_with(rope, 16)), 0.1767766952966369f);
  }
}

TEST(YarnTest, ExplicitAttentionFactorWins) {
  RopeParameters rope = yarn();
  rope.attention_factor = 1.7;
  rope.mscale_all_dim = 0.5;
  EXPECT_FLOAT_EQ(rope_frequencies(config_with(rope, 16), 1).attention_scaling, 1.7f);
  EXPECT_FLOAT_EQ(softmax_scale(config_with(rope, 16)), 0.24800135598415743f);
}

TEST(YarnTest, TruncateRoundsTheCorrectionRange) {
  RopeParameters rope = yarn();
  expect_frequencies(config_with(rope, 16),
                     {1.0, 0.316227764, 0.100000001, 0.0239147246, 0.00512499968, 0.000849862176,
                      2.49999994e-05, 7.90569447e-06});
  rope.truncate = false;
  expect_frequencies(config_with(rope, 16),
                     {1.0, 0.316227764, 0.100000001, 0.0277108587, 0.00552406255, 0.000722638157,
                      2.49999994e-05, 7.90569447e-06});
}

TEST(YarnTest, BetasAndOriginalContextMoveTheRange) {
  RopeParameters rope = yarn();
  rope.rope_theta = 500;
  rope.factor = 8;
  rope.original_max_position_embeddings = 64;
  rope.beta_fast = 4;
  rope.mscale = rope.mscale_all_dim = 1.0;
  const DeepseekV3Config config = config_with(rope, 16, 512);
  expect_frequencies(config, {1.0, 0.459863275, 0.118954256, 0.0121561559, 0.00559017016,
                              0.0025707141, 0.00118217699, 0.000543639821});
  EXPECT_FLOAT_EQ(softmax_scale(config), 0.2579400167008971f);
}

TEST(YarnTest, AFactorOfAtMostOneScalesNothing) {
  RopeParameters rope = yarn();
  rope.factor = 0.5;
  rope.mscale = 0.7;
  rope.mscale_all_dim = 1.3;
  const DeepseekV3Config config = config_with(rope, 16);
  EXPECT_EQ(rope_frequencies(config, 1).attention_scaling, 1);
  EXPECT_FLOAT_EQ(softmax_scale(config), 0.1767766952966369f);
  expect_frequencies(config, {1.0, 0.316227764, 0.100000001, 0.0395284742, 0.0149999997,
                              0.00553398626, 0.00200000009, 0.000632455572});
}

}  // namespace
}  // namespace dsv3::model
