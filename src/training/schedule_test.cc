#include "training/schedule.h"

#include <gtest/gtest.h>

#include "dsv3/error.h"

namespace dsv3::training {
namespace {

TrainConfig in_steps() {
  TrainConfig config;
  config.steps = 100;
  config.learning_rate = {.peak = 1,
                          .decayed = 0.1,
                          .final = 0.03,
                          .warmup_until = {10},
                          .constant_until = {20},
                          .cosine_until = {40},
                          .decayed_until = {90}};
  return config;
}

double rate(const TrainConfig& config, int64_t step) {
  return step_settings(config, step, total_steps(config)).learning_rate;
}

TEST(ScheduleTest, LearningRateAtEveryBorder) {
  const TrainConfig config = in_steps();
  EXPECT_DOUBLE_EQ(rate(config, 1), 0.1);
  EXPECT_DOUBLE_EQ(rate(config, 9), 0.9);
  EXPECT_EQ(rate(config, 10), 1);
  EXPECT_EQ(rate(config, 20), 1);
  EXPECT_LT(rate(config, 21), 1);
  EXPECT_GT(rate(config, 21), 0.99);  // a cosine begins flat
  EXPECT_NEAR(rate(config, 30), 0.55, 1e-15);
  EXPECT_GT(rate(config, 39), 0.1);
  EXPECT_LT(rate(config, 39), 0.11);
  EXPECT_EQ(rate(config, 40), 0.1);
  EXPECT_EQ(rate(config, 90), 0.1);
  EXPECT_EQ(rate(config, 91), 0.03);
  EXPECT_EQ(rate(config, 100), 0.03);
  for (int64_t step = 21; step <= 100; ++step)
    EXPECT_LE(rate(config, step), rate(config, step - 1)) << step;
}

TEST(ScheduleTest, LearningRateWithoutItsParts) {
  TrainConfig config = in_steps();
  config.learning_rate.decayed_until = {0};
  EXPECT_EQ(rate(config, 100), 0.1);
  config.learning_rate.warmup_until = {0};
  EXPECT_EQ(rate(config, 1), 1);
  config.learning_rate.constant_until = {0};
  EXPECT_LT(rate(config, 1), 1);
  config.learning_rate.cosine_until = {0};
  EXPECT_EQ(rate(config, 1), 0.1);
}

TEST(ScheduleTest, FractionsAreOfTheWholeRun) {
  TrainConfig config;  // the report's moments
  config.steps = 1000;
  EXPECT_EQ(rate(config, 676), config.learning_rate.peak);
  EXPECT_LT(rate(config, 677), config.learning_rate.peak);
  EXPECT_EQ(rate(config, 966), config.learning_rate.decayed);
  EXPECT_EQ(rate(config, 990), config.learning_rate.final);
  config.steps = 3;  // too short for most
  for (int64_t step = 1; step <= 3; ++step) EXPECT_GT(rate(config, step), 0);
}

TEST(ScheduleTest, GammaEndsAndLambdaChangesAfterTheirSteps) {
  TrainConfig config = in_steps();
  config.balancing = {.bias_update_speed = 0.5, .until = {60}, .loss_alpha = 0.25};
  config.mtp = {.loss_weight = 0.3, .later_loss_weight = 0.1, .until = {0.5}};
  EXPECT_EQ(step_settings(config, 60, 100).bias_update_speed, 0.5);
  EXPECT_EQ(step_settings(config, 61, 100).bias_update_speed, 0);
  EXPECT_EQ(step_settings(config, 61, 100).balance_loss_alpha, 0.25);
  EXPECT_EQ(step_settings(config, 50, 100).mtp_loss_weight, 0.3);
  EXPECT_EQ(step_settings(config, 51, 100).mtp_loss_weight, 0.1);
  config.balancing.until = config.mtp.until = {0};
  EXPECT_EQ(step_settings(config, 100, 100).bias_update_speed, 0.5);
  EXPECT_EQ(step_settings(config, 100, 100).mtp_loss_weight, 0.3);
}

TEST(ScheduleTest, BatchGrowsOverItsTokens) {
  TrainConfig config;
  EXPECT_EQ(batch_windows(config, 0), 16);
  config.batch = {.windows = 10, .start_windows = 2, .ramp_tokens = 800};
  EXPECT_EQ(batch_windows(config, 0), 2);
  EXPECT_EQ(batch_windows(config, 99), 2);
  EXPECT_EQ(batch_windows(config, 100), 3);
  EXPECT_EQ(batch_windows(config, 799), 9);
  EXPECT_EQ(batch_windows(config, 800), 10);
}

TEST(ScheduleTest, StepsOfSoManyTokens) {
  TrainConfig config;
  config.data.sequence_length = 10;
  config.batch = {.windows = 4};
  EXPECT_EQ(total_steps(config), 1000);
  config.tokens = 80;
  EXPECT_EQ(total_steps(config), 2);
  config.tokens = 81;
  EXPECT_EQ(total_steps(config), 3);
  config.batch = {.windows = 4, .start_windows = 1, .ramp_tokens = 40};
  // 10 tokens, 10, 20 (2 windows from 20 on), then 40 at a time
  config.tokens = 20;
  EXPECT_EQ(total_steps(config), 2);
  config.tokens = 21;
  EXPECT_EQ(total_steps(config), 3);
  config.tokens = 121;
  EXPECT_EQ(total_steps(config), 6);
}

TEST(ScheduleTest, MomentsOutOfOrderAreRefused) {
  TrainConfig config = in_steps();
  EXPECT_NO_THROW(validate_schedule(config, "t"));
  config.learning_rate.cosine_until = {0.15};
  try {
    validate_schedule(config, "t");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "t: learning_rate.cosine_until: expected at least learning_rate.constant_until, "
                 "which is step 20, found step 15");
  }
}

}  // namespace
}  // namespace dsv3::training
