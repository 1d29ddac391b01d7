#include <gtest/gtest.h>

#include "base/json.h"
#include "dsv3/generation.h"

namespace dsv3 {
namespace {

/// The message of the Error that `f` throws, or "" if it throws none.
template <typename F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

GenerationConfig with(const std::string& kwargs) {
  GenerationConfig config;
  config.apply(kwargs);
  return config;
}

TEST(GenerationConfigTest, ReadsTheOfficialFile) {
  const auto config = GenerationConfig::from_json(R"({
    "_from_model_config": true, "bos_token_id": 0, "eos_token_id": 1, "do_sample": true,
    "temperature": 0.6, "top_p": 0.95, "transformers_version": "4.39.3"})");
  EXPECT_EQ(config.bos_token_id, 0);
  EXPECT_EQ(config.eos_token_id, (std::vector<int64_t>{1}));
  EXPECT_FALSE(config.pad_token_id.has_value());
  EXPECT_TRUE(config.do_sample);
  EXPECT_EQ(config.temperature, 0.6);
  EXPECT_EQ(config.top_p, 0.95);
  EXPECT_EQ(config.top_k, 50);  // Hugging Face's default, which sampling users rarely know of
  config.validate();
}

TEST(GenerationConfigTest, KeepsUnknownKeysAndTheirOrderWhenWritten) {
  const std::string text =
      R"({"zebra": {"a": [1, null]}, "eos_token_id": [3, 4], "temperature": null, "apple": 2})";
  auto config = GenerationConfig::from_json(text);
  EXPECT_EQ(Json::parse(config.to_json()), Json::parse(text));
  config.eos_token_id = {3};
  config.top_p = 0.5;
  config.early_stopping = EarlyStopping::kNever;
  config.exponential_decay_length_penalty = {5, 1.5};
  EXPECT_EQ(Json::parse(config.to_json()).dump(),
            R"({"zebra":{"a":[1,null]},"eos_token_id":3,"temperature":null,"apple":2,)"
            R"("early_stopping":"never","top_p":0.5,"exponential_decay_length_penalty":[5,1.5]})");
}

TEST(GenerationConfigTest, EveryFieldSurvivesWritingAndReading) {
  const std::string kwargs = R"({
    "max_length": 9, "max_new_tokens": 8, "min_length": 3, "min_new_tokens": 2, "max_time": 1.5,
    "stop_strings": ["a", "b"], "do_sample": true, "num_beams": 3, "num_return_sequences": 2,
    "length_penalty": -1.5, "early_stopping": true, "seed": 18446744073709551615, "temperature": 0.5,
    "top_k": 7, "top_p": 0.25, "min_p": 0.125, "top_h": 0.5, "typical_p": 0.75, "epsilon_cutoff": 0.5,
    "eta_cutoff": 0.25, "repetition_penalty": 1.5, "encoder_repetition_penalty": 1.25,
    "presence_penalty": -0.5, "frequency_penalty": 0.5, "no_repeat_ngram_size": 2,
    "encoder_no_repeat_ngram_size": 3, "bad_words_ids": [[1], [2, 3]], "logit_bias": {"5": -1.5, "6": 2.0},
    "sequence_bias": [[[1, 2], 0.5]], "suppress_tokens": [1, 2], "begin_suppress_tokens": [3],
    "forced_bos_token_id": 4, "forced_eos_token_id": [5, 6], "exponential_decay_length_penalty": [2, 1.5],
    "remove_invalid_values": true, "renormalize_logits": true, "pad_token_id": 7, "bos_token_id": 8,
    "eos_token_id": [9, 10], "logprobs": 4})";
  const auto config = with(kwargs);
  config.validate();
  EXPECT_EQ(Json::parse(config.to_json()), Json::parse(kwargs));
  EXPECT_EQ(GenerationConfig::from_json(config.to_json()).to_json(), config.to_json());
}

TEST(GenerationConfigTest, ArgumentsGoBeforeTheFileAndTheFileBeforeTheModel) {
  DeepseekV3Config model;
  model.bos_token_id = 10;
  model.eos_token_id = {11};
  model.pad_token_id = 12;
  auto config =
      GenerationConfig::from_json(R"({"eos_token_id": [21, 22], "temperature": 0.3, "top_k": 5})");
  config.fill_special_tokens(model);
  config.apply(R"({"temperature": 0.9, "stop_strings": "end"})");
  EXPECT_EQ(config.eos_token_id, (std::vector<int64_t>{21, 22}));
  EXPECT_EQ(config.bos_token_id, 10);
  EXPECT_EQ(config.pad_token_id, 12);
  EXPECT_EQ(config.temperature, 0.9);
  EXPECT_EQ(config.top_k, 5);
  EXPECT_EQ(config.stop_strings, (std::vector<std::string>{"end"}));
}

TEST(GenerationConfigTest, NullArgumentSwitchesOffAndNullInTheFileMeansDefault) {
  EXPECT_EQ(GenerationConfig::from_json(R"({"top_k": null})").top_k, 50);
  auto config = with(R"({"temperature": 0.5, "eos_token_id": 4, "min_p": 0.1, "max_new_tokens": 3,
                         "stop_strings": ["x"]})");
  config.apply(R"({"top_k": null, "temperature": null, "eos_token_id": null, "min_p": null,
                   "max_new_tokens": null, "stop_strings": null})");
  EXPECT_EQ(config.top_k, 0);
  EXPECT_EQ(config.temperature, 1.0);
  EXPECT_TRUE(config.eos_token_id.empty());
  EXPECT_TRUE(config.stop_strings.empty());
  EXPECT_FALSE(config.min_p.has_value());
  EXPECT_FALSE(config.max_new_tokens.has_value());
}

TEST(GenerationConfigTest, WrongTypesNameFileFieldAndValue) {
  EXPECT_EQ(error_of([] {
              GenerationConfig::from_json(R"({"top_k": 2.5})", "a/generation_config.json");
            }),
            "a/generation_config.json: top_k: expected an integer, found 2.5");
  EXPECT_EQ(error_of([] { with(R"({"early_stopping": "sometimes"})"); }),
            "generation arguments: early_stopping: expected true, false or \"never\", found "
            "\"sometimes\"");
  for (const char* bad :
       {R"({"eos_token_id": "1"})", R"({"eos_token_id": [1, "2"]})", R"({"do_sample": 1})",
        R"({"seed": -1})", R"({"bad_words_ids": [1]})", R"({"logit_bias": {"x": 1}})",
        R"({"logit_bias": {"1": "a"}})", R"({"sequence_bias": [[1, 2]]})",
        R"({"stop_strings": [1]})", R"({"temperature": "hot"})", "[1]", "{"}) {
    EXPECT_NE(error_of([&] { with(bad); }), "") << bad;
  }
}

TEST(GenerationConfigTest, UnknownArgumentsAndUnsupportedFeaturesAreRefused) {
  EXPECT_EQ(error_of([] { with(R"({"temprature": 1})"); }),
            "generation arguments: unknown argument 'temprature' (value 1)");
  EXPECT_EQ(error_of([] { with(R"({"guidance_scale": 2.0})"); }),
            "generation arguments: guidance_scale: 2.0 is not supported; leave it out");
  EXPECT_NE(error_of([] { GenerationConfig::from_json(R"({"num_beam_groups": 2})"); }), "");
  EXPECT_EQ(
      error_of([] { with(R"({"num_beam_groups": 1, "guidance_scale": 1, "use_cache": true})"); }),
      "");
}

TEST(GenerationConfigTest, InvalidValuesNameWhatIsAllowed) {
  EXPECT_EQ(error_of([] { with(R"({"do_sample": true, "temperature": 0})").validate(); }),
            "generation config: temperature is 0; it must be above 0 when sampling; for the most "
            "likely token set "
            "do_sample to false");
  EXPECT_EQ(error_of([] { with(R"({"top_p": 1.5})").validate("request"); }),
            "request: top_p is 1.5; it must be above 0 and at most 1");
  for (const char* bad : {R"({"top_p": 0})",
                          R"({"num_beams": 0})",
                          R"({"num_return_sequences": 2})",
                          R"({"num_beams": 2, "num_return_sequences": 3})",
                          R"({"do_sample": true, "num_return_sequences": 0})",
                          R"({"max_new_tokens": 0})",
                          R"({"max_length": -1})",
                          R"({"min_length": -1})",
                          R"({"min_new_tokens": -1})",
                          R"({"top_k": -1})",
                          R"({"min_p": 1.1})",
                          R"({"top_h": 0})",
                          R"({"typical_p": 0})",
                          R"({"epsilon_cutoff": 1})",
                          R"({"eta_cutoff": -0.1})",
                          R"({"repetition_penalty": 0})",
                          R"({"no_repeat_ngram_size": -1})",
                          R"({"bad_words_ids": [[]]})",
                          R"({"bad_words_ids": [[-1]]})",
                          R"({"stop_strings": [""]})",
                          R"({"logprobs": -1})",
                          R"({"max_time": 0})",
                          R"({"forced_eos_token_id": -2})"}) {
    EXPECT_NE(error_of([&] { with(bad).validate(); }), "") << bad;
  }
  for (const char* good :
       {"{}", R"({"temperature": 0})", R"({"do_sample": true, "num_return_sequences": 9})",
        R"({"num_beams": 3, "num_return_sequences": 3})", R"({"top_k": 0})"}) {
    EXPECT_EQ(error_of([&] { with(good).validate(); }), "") << good;
  }
}

}  // namespace
}  // namespace dsv3
