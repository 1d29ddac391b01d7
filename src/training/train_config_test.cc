#include "training/train_config.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "dsv3/error.h"

namespace dsv3::training {
namespace {

std::string error_of(const std::string& json) {
  try {
    TrainConfig::from_json(json, "t.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string error_of_set(const std::string& assignment) {
  TrainConfig config;
  try {
    config.set(assignment);
  } catch (const Error& error) {
    EXPECT_EQ(config, TrainConfig()) << assignment;
    return error.what();
  }
  return "no error";
}

TEST(TrainConfigTest, ExampleHasEveryFieldAtItsDefault) {
  const std::string example = TrainConfig::example();
  EXPECT_EQ(TrainConfig::from_json(example, "example"), TrainConfig());
  EXPECT_EQ(parse_commented_json(example, "example"), TrainConfig().to_json());
  // A comment above every field and section, and no line wider than a screen.
  size_t fields = 0, comments = 0;
  bool comment_above = false;
  for (size_t begin = 0; begin < example.size();) {
    const size_t end = example.find('\n', begin);
    const std::string line = example.substr(begin, end - begin);
    begin = end + 1;
    EXPECT_LE(line.size(), 100u) << line;
    const size_t at = line.find_first_not_of(' ');
    const bool is_comment = at != line.npos && line.compare(at, 2, "//") == 0;
    if (at != line.npos && line[at] == '"') {
      ++fields;
      EXPECT_TRUE(comment_above) << line;
    }
    comments += is_comment && !comment_above ? 1 : 0;
    comment_above = is_comment;
  }
  EXPECT_GT(fields, TrainConfig::field_names().size());
  EXPECT_GE(comments, fields);
}

TEST(TrainConfigTest, WhatIsWrittenReadsBack) {
  TrainConfig config;
  config.run = "elsewhere";
  config.dtype = TrainingDType::kFloat32;
  config.data.valid = {};
  config.data.train = {"a.bin", "b \"quoted\""};
  config.learning_rate.warmup_until.value = 17;
  config.learning_rate.constant_until.value = 0.25;
  config.trouble.on_spike = OnTrouble::kSkip;
  config.optimizer.eps = 1e-15;
  EXPECT_EQ(TrainConfig::from_json(config.to_json().dump(), "t"), config);
}

TEST(TrainConfigTest, MissingFieldsKeepTheirDefaultsAndCommentsAreAllowed) {
  const TrainConfig config = TrainConfig::from_json(
      "{ // a run, \n \"steps\": 7, /* with \"quotes\" */ \"batch\": {\"windows\": 1e1}}", "t");
  TrainConfig expected;
  expected.steps = 7;
  expected.batch.windows = 10;
  EXPECT_EQ(config, expected);
}

TEST(TrainConfigTest, ErrorsNameTheFieldAndWhatWasFound) {
  EXPECT_EQ(error_of("{\"stepz\": 1}"), "t.json: unknown field 'stepz'; did you mean 'steps'?");
  EXPECT_EQ(error_of("{\"batch\": {\"window\": 1}}"),
            "t.json: unknown field 'batch.window'; did you mean 'batch.windows'?");
  EXPECT_EQ(error_of("{\"batch.windows\": 1}"),
            "t.json: unknown field 'batch.windows': write it as \"batch\": {\"windows\": ...}");
  EXPECT_EQ(error_of("{\"batch\": 3}"), "t.json: batch: expected an object, found 3");
  EXPECT_EQ(error_of("{\"steps\": \"many\"}"),
            "t.json: steps: expected an integer of at least 1, found \"many\"");
  EXPECT_NE(error_of("{\"steps\": 0}").find("found 0"), std::string::npos);
  EXPECT_NE(error_of("{\"steps\": 1.5}").find("found 1.5"), std::string::npos);
  EXPECT_NE(error_of("{\"steps\": null}").find("found null"), std::string::npos);
  EXPECT_EQ(error_of("{\"dtype\": \"float16\"}"),
            "t.json: dtype: expected \"float32\" or \"bfloat16\", found \"float16\"");
  EXPECT_EQ(error_of("{\"learning_rate\": {\"peak\": 0}}"),
            "t.json: learning_rate.peak: expected a number above 0, found 0");
  EXPECT_EQ(error_of("{\"learning_rate\": {\"warmup_until\": 1.5}}"),
            "t.json: learning_rate.warmup_until: expected a number of steps, or a fraction below 1 "
            "of all steps, found 1.5");
  EXPECT_EQ(error_of("{\"data\": {\"train\": [1]}}"),
            "t.json: data.train: expected a list of texts, found [1]");
  EXPECT_EQ(error_of("{\"optimizer\": {\"beta2\": 1}}").substr(0, 24), "t.json: optimizer.beta2:");
  EXPECT_EQ(error_of("[]"), "t.json: expected a JSON object, found array");
  EXPECT_EQ(error_of("{\"steps\": 1,,}").substr(0, 33), "t.json: not valid JSON at line 1,");
}

TEST(TrainConfigTest, AssignmentsOfTheCommandLine) {
  TrainConfig config, expected;
  config.set("batch.windows=8");
  config.set("run=some folder");
  config.set("model.tokenizer=123");
  config.set("data.train=a.bin");
  config.set("data.valid=[\"b\", \"c\"]");
  config.set("dtype=float32");
  config.set("data.shuffle=false");
  config.set("samples.prompts=One day");
  expected.batch.windows = 8;
  expected.run = "some folder";
  expected.model.tokenizer = "123";
  expected.data.train = {"a.bin"};
  expected.data.valid = {"b", "c"};
  expected.dtype = TrainingDType::kFloat32;
  expected.data.shuffle = false;
  expected.samples.prompts = {"One day"};
  EXPECT_EQ(config, expected);
  EXPECT_EQ(error_of_set("batch.window=8"),
            "unknown field 'batch.window'; did you mean 'batch.windows'?");
  EXPECT_EQ(error_of_set("batch=8").substr(0, 21), "unknown field 'batch'");
  EXPECT_EQ(error_of_set("steps"), "'steps': expected FIELD=VALUE, as batch.windows=8");
  EXPECT_EQ(error_of_set("steps=x"), "steps: expected an integer of at least 1, found \"x\"");
}

TEST(TrainConfigTest, ValuesThatContradictOneAnotherAreRefused) {
  const std::string root = DSV3_SOURCE_DIR;
  TrainConfig good;
  good.model.config = root + "/models/stories/config.json";
  good.data.train = good.data.valid = {root + "/models/stories/valid_slice.bin"};
  EXPECT_NO_THROW(good.validate("t"));
  const auto message = [&](auto&& change) -> std::string {
    TrainConfig config = good;
    change(config);
    try {
      config.validate("t");
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message([](TrainConfig& c) { c.data.train = {"nowhere"}; }),
            "t: data.train: no such file or folder: nowhere");
  EXPECT_EQ(message([](TrainConfig& c) { c.data.train = {}; }).substr(0, 14), "t: data.train:");
  EXPECT_EQ(message([](TrainConfig& c) { c.data.valid = {}; }), "no error");
  EXPECT_EQ(message([](TrainConfig& c) { c.model.config = "no.json"; }),
            "t: model.config: no such file or folder: no.json");
  EXPECT_EQ(message([&](TrainConfig& c) {
              c.model.config = "no.json";
              c.model.checkpoint = root + "/models/stories";
            }),
            "no error");
  EXPECT_EQ(message([](TrainConfig& c) {
              c.batch.start_windows = 17;
              c.batch.ramp_tokens = 1;
            }),
            "t: batch.start_windows: expected at most batch.windows, 16, found 17");
  EXPECT_NE(message([](TrainConfig& c) { c.batch.ramp_tokens = 1; }).find("both or neither"),
            std::string::npos);
  EXPECT_EQ(message([](TrainConfig& c) { c.tokens = 5; }).substr(0, 10), "t: tokens:");
}

TEST(TrainConfigTest, TheDocumentationHasEveryField) {
  const std::filesystem::path page = DSV3_SOURCE_DIR "/docs/TRAINING.md";
  const std::string text = read_file(page);
  for (const std::string& name : TrainConfig::field_names()) {
    EXPECT_NE(text.find("| `" + name + "` |"), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace dsv3::training
