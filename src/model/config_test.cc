#include "dsv3/config.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/file.h"
#include "base/json.h"
#include "dsv3/error.h"

namespace dsv3 {
namespace {

const std::filesystem::path kSource = DSV3_SOURCE_DIR;

/// A small valid configuration in the style of transformers 5.
Json small() {
  return Json::parse(R"({
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
    "vocab_size": 100, "hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 16,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4,
    "n_routed_experts": 16, "n_group": 4, "topk_group": 2, "num_experts_per_tok": 4,
    "kv_lora_rank": 16, "q_lora_rank": 24, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16,
    "v_head_dim": 12, "first_k_dense_replace": 1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}})");
}

DeepseekV3Config load(const Json& json) { return DeepseekV3Config::from_json(json.dump()); }

DeepseekV3Config with(const char* key, Json value) {
  Json json = small();
  json[key] = std::move(value);
  return load(json);
}

DeepseekV3Config with_rope(const char* text) { return with("rope_parameters", Json::parse(text)); }

/// Runs `f`, which must throw Error, and looks for all the parts in its message.
void expect_error(const std::function<void()>& f, std::initializer_list<const char*> parts) {
  try {
    f();
  } catch (const Error& e) {
    for (const char* part : parts) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos)
          << "message: " << e.what() << "\nlacks: " << part;
    }
    return;
  }
  std::string all;
  for (const char* part : parts) all += std::string(" ") + part;
  ADD_FAILURE() << "no error naming" << all;
}

void expect_refused(const char* key, Json value, std::initializer_list<const char*> parts) {
  expect_error([&] { with(key, value); }, parts);
}

std::vector<std::filesystem::path> committed_configs() {
  std::vector<std::filesystem::path> all = {kSource / "models/stories/config.json"};
  for (const auto& entry : std::filesystem::directory_iterator(kSource / "tests/golden")) {
    const auto file = entry.path() / "model/config.json";
    if (std::filesystem::exists(file)) all.push_back(file);
  }
  return all;
}

TEST(ConfigTest, EveryCommittedCheckpointLoadsAndRoundTrips) {
  const auto files = committed_configs();
  ASSERT_GT(files.size(), 40u);
  for (const auto& file : files) {
    SCOPED_TRACE(file.string());
    DeepseekV3Config a = DeepseekV3Config::from_file(file);
    const std::string text = a.to_json();
    DeepseekV3Config b = DeepseekV3Config::from_json(text);
    EXPECT_EQ(b.to_json(), text);
    a.original_json.clear();
    b.original_json.clear();
    EXPECT_EQ(a, b);
    // Without the original text the meaning is written completely, too.
    DeepseekV3Config c = DeepseekV3Config::from_json(a.to_json());
    c.original_json.clear();
    EXPECT_EQ(a, c);
  }
}

TEST(ConfigTest, FilesThatTransformers5WroteAreWrittenBackByteForByte) {
  int compared = 0;
  for (const auto& file : committed_configs()) {
    std::string text = read_file(file);
    if (!text.ends_with('\n')) text += '\n';  // Some were edited after they were written.
    const Json json = parse_json(text, file.string());
    if (json.value("transformers_version", "") != "5.12.1") continue;
    if (json.contains("quantization_config")) continue;
    SCOPED_TRACE(file.string());
    EXPECT_EQ(DeepseekV3Config::from_json(text).to_json(), text);
    ++compared;
  }
  EXPECT_GT(compared, 30);
}

TEST(ConfigTest, MissingFieldsHaveTheDefaultsOfTransformers) {
  DeepseekV3Config c = DeepseekV3Config::from_json(R"({"model_type": "deepseek_v3"})");
  c.original_json.clear();
  EXPECT_EQ(c, DeepseekV3Config());
  EXPECT_EQ(c.rope_parameters.rope_theta, 10000.0);
  EXPECT_EQ(c.num_labels, 2);
  EXPECT_EQ(c.qk_head_dim(), 192);
  EXPECT_NO_THROW(DeepseekV3Config().validate());
}

TEST(ConfigTest, OldAndNewStyleMeanTheSame) {
  Json old_style = small();
  old_style.erase("rope_parameters");
  old_style["rope_theta"] = 500;
  old_style["rope_scaling"] =
      Json::parse(R"({"type": "yarn", "factor": 40, "original_max_position_embeddings": 64,
                      "beta_fast": 16, "mscale": 0.7, "mscale_all_dim": 1.3})");
  old_style["torch_dtype"] = "bfloat16";
  Json new_style = small();
  new_style["rope_parameters"] = old_style["rope_scaling"];
  new_style["rope_parameters"].erase("type");
  new_style["rope_parameters"]["rope_type"] = "yarn";
  new_style["rope_parameters"]["rope_theta"] = 500.0;
  new_style["dtype"] = "bfloat16";
  DeepseekV3Config a = load(old_style);
  DeepseekV3Config b = load(new_style);
  const Json written = Json::parse(a.to_json());
  a.original_json.clear();
  b.original_json.clear();
  EXPECT_EQ(a, b);
  EXPECT_EQ(a.rope_parameters.rope_type, "yarn");
  EXPECT_EQ(a.rope_parameters.rope_theta, 500);
  EXPECT_EQ(a.rope_parameters.factor, 40);
  EXPECT_EQ(a.rope_parameters.beta_fast, 16);
  EXPECT_EQ(a.rope_parameters.beta_slow, 1);
  EXPECT_EQ(a.rope_parameters.mscale_all_dim, 1.3);
  EXPECT_EQ(a.dtype, "bfloat16");
  for (const char* gone : {"rope_scaling", "rope_theta", "torch_dtype"}) {
    EXPECT_FALSE(written.contains(gone)) << gone;
  }
  EXPECT_EQ(written["rope_parameters"]["rope_type"], "yarn");
  EXPECT_EQ(written["dtype"], "bfloat16");
}

TEST(ConfigTest, UnknownKeysAreKept) {
  Json json = small();
  json["aux_loss_alpha"] = 0.001;
  json["auto_map"] = {{"AutoConfig", "configuration_deepseek.DeepseekV3Config"}};
  json["rope_parameters"]["remark"] = "kept";
  json["quantization_config"] = Json::parse(
      R"({"quant_method": "fp8", "weight_block_size": [128, 64], "ignored_layers": ["a.b"]})");
  DeepseekV3Config c = load(json);
  c.hidden_size = 72;
  const Json written = Json::parse(c.to_json());
  EXPECT_EQ(written["hidden_size"], 72);
  EXPECT_EQ(written["aux_loss_alpha"], 0.001);
  EXPECT_EQ(written["auto_map"], json["auto_map"]);
  EXPECT_EQ(written["rope_parameters"]["remark"], "kept");
  EXPECT_EQ(written["quantization_config"]["ignored_layers"], Json::array({"a.b"}));
  EXPECT_EQ(c.quantization_config->block_rows, 128);
  EXPECT_EQ(c.quantization_config->block_cols, 64);
  c.quantization_config.reset();
  EXPECT_FALSE(Json::parse(c.to_json()).contains("quantization_config"));
}

TEST(ConfigTest, NullsHaveTheirMeaning) {
  EXPECT_EQ(with("q_lora_rank", nullptr).q_lora_rank, std::nullopt);
  EXPECT_EQ(with("pad_token_id", nullptr).pad_token_id, std::nullopt);
  EXPECT_EQ(with("bos_token_id", nullptr).bos_token_id, std::nullopt);
  EXPECT_EQ(with("num_key_value_heads", nullptr).num_key_value_heads, 4);
  // As Python takes None where a truth value is asked for.
  EXPECT_FALSE(with("norm_topk_prob", nullptr).norm_topk_prob);
  EXPECT_FALSE(with("rope_interleave", nullptr).rope_interleave);
  EXPECT_EQ(with("rope_scaling", nullptr).rope_parameters.rope_type, "default");
  EXPECT_EQ(with("rope_parameters", nullptr).rope_parameters.rope_theta, 10000);
  EXPECT_FALSE(with("quantization_config", nullptr).quantization_config.has_value());
  EXPECT_EQ(with("problem_type", nullptr).problem_type, "");
  EXPECT_EQ(with("num_nextn_predict_layers", nullptr).num_nextn_predict_layers, 0);
  expect_refused("hidden_size", nullptr, {"hidden_size", "null"});
  expect_refused("n_group", nullptr, {"n_group", "null"});
}

TEST(ConfigTest, EosIsANumberAListOrNothing) {
  const auto eos = [](const Json& value) { return with("eos_token_id", value).eos_token_id; };
  EXPECT_EQ(eos(7), std::vector<int64_t>{7});
  EXPECT_EQ(eos(Json::array({7, 9})), (std::vector<int64_t>{7, 9}));
  EXPECT_EQ(eos(nullptr), std::vector<int64_t>{});
  const auto written = [](const Json& value) {
    return Json::parse(with("eos_token_id", value).to_json())["eos_token_id"];
  };
  EXPECT_EQ(written(7), 7);
  EXPECT_EQ(written(Json::array({7, 9})), Json::array({7, 9}));
  EXPECT_EQ(written(Json::array({7})), Json::array({7}));
  EXPECT_TRUE(written(nullptr).is_null());
  expect_refused("eos_token_id", "7", {"eos_token_id", "\"7\""});
}

TEST(ConfigTest, LabelsComeFromId2label) {
  const Json labels = {{"0", "bad"}, {"1", "fair"}, {"2", "good"}};
  const DeepseekV3Config c = with("id2label", labels);
  EXPECT_EQ(c.num_labels, 3);
  EXPECT_EQ(c.id2label.at(2), "good");
  EXPECT_EQ(with("num_labels", 5).num_labels, 5);
  const Json written = Json::parse(with("num_labels", 5).to_json());
  EXPECT_EQ(written["id2label"].size(), 5u);
  EXPECT_EQ(written["label2id"]["LABEL_4"], 4);
  Json json = small();
  json["id2label"] = labels;
  json["num_labels"] = 4;
  expect_error([&] { load(json); }, {"num_labels", "3", "4"});
  json["num_labels"] = 3;
  EXPECT_NO_THROW(load(json));
  expect_refused("id2label", Json::parse(R"({"x": "a"})"), {"id2label"});
  expect_refused("problem_type", "ranking", {"problem_type", "ranking", "regression"});
  json = small();
  json["num_labels"] = 1;
  json["problem_type"] = "single_label_classification";
  expect_error([&] { load(json); }, {"single_label_classification", "num_labels"});
}

TEST(ConfigTest, OtherModelTypesAreRefusedWithAReason) {
  expect_refused("model_type", "llama", {"model_type", "llama", "deepseek_v3"});
  expect_refused("model_type", "deepseek_v2", {"deepseek_v2", "softmax"});
  expect_refused("model_type", "deepseek_v32", {"deepseek_v32", "sparse"});
  Json wrapper = {{"model_type", "kimi_k25"}, {"text_config", small()}};
  expect_error([&] { load(wrapper); }, {"kimi_k25", "text_config"});
  Json nameless = small();
  nameless.erase("model_type");
  EXPECT_NO_THROW(load(nameless));  // The architectures say it.
  EXPECT_EQ(Json::parse(load(nameless).to_json())["model_type"], "deepseek_v3");
  nameless.erase("architectures");
  expect_error([&] { load(nameless); }, {"model_type", "missing", "deepseek_v3"});
  expect_error([] { DeepseekV3Config::from_json("{}"); }, {"model_type", "missing"});
}

TEST(ConfigTest, KimiK2IsTheSameArchitectureAndKeepsItsName) {
  const DeepseekV3Config c = with("model_type", "kimi_k2");
  EXPECT_EQ(Json::parse(c.to_json())["model_type"], "kimi_k2");
}

TEST(ConfigTest, UnsupportedFeaturesAreRefused) {
  expect_refused("hidden_act", "gelu", {"hidden_act", "gelu", "silu"});
  expect_refused("topk_method", "group_limited_greedy", {"topk_method", "greedy", "noaux_tc"});
  expect_refused("scoring_func", "softmax", {"scoring_func", "softmax", "sigmoid"});
  expect_refused("dtype", "float64", {"dtype", "float64", "bfloat16"});
  expect_refused("rope_parameters", Json::parse(R"({"rope_type": "llama3", "factor": 8})"),
                 {"rope_type", "llama3", "yarn"});
  expect_refused("rope_parameters", Json::parse(R"({"full_attention": {"rope_type": "default"}})"),
                 {"full_attention"});
  expect_refused("partial_rotary_factor", 0.5, {"partial_rotary_factor", "0.5"});
  const auto quantized = [](const char* text, std::initializer_list<const char*> parts) {
    expect_refused("quantization_config", Json::parse(text), parts);
  };
  quantized(R"({"quant_method": "awq", "bits": 4})", {"quant_method", "awq", "fp8"});
  quantized(R"({"bits": 4})", {"quant_method", "fp8"});
  quantized(R"({"quant_method": "fp8", "fmt": "e5m2"})", {"fmt", "e5m2", "e4m3"});
  quantized(R"({"quant_method": "fp8", "activation_scheme": "static"})", {"static", "dynamic"});
  quantized(R"({"quant_method": "fp8", "scale_fmt": "e3m4"})", {"scale_fmt", "e3m4", "ue8m0"});
  quantized(R"({"quant_method": "fp8", "weight_block_size": [128]})",
            {"weight_block_size", "[128]"});
  quantized(R"({"quant_method": "fp8", "weight_block_size": null})", {"weight_block_size", "null"});
  quantized(R"({"quant_method": "fp8", "weight_block_size": [128, 0]})",
            {"weight_block_size", "0"});
}

TEST(ConfigTest, WrongJsonTypesAreNamed) {
  expect_refused("hidden_size", "7168", {"config.json", "hidden_size", "\"7168\"", "whole number"});
  expect_refused("hidden_size", 64.5, {"hidden_size", "64.5"});
  expect_refused("hidden_size", 18446744073709551615u, {"hidden_size", "18446744073709551615"});
  expect_refused("rms_norm_eps", "1e-6", {"rms_norm_eps", "\"1e-6\"", "number"});
  expect_refused("norm_topk_prob", 1, {"norm_topk_prob", "1", "true or false"});
  expect_refused("hidden_act", 3, {"hidden_act", "3", "string"});
  expect_refused("architectures", "DeepseekV3ForCausalLM", {"architectures", "list"});
  expect_refused("rope_scaling", 2, {"rope_scaling", "2"});
  expect_refused("quantization_config", "fp8", {"quantization_config", "fp8"});
  expect_error([] { DeepseekV3Config::from_json("[1]", "x.json"); }, {"x.json", "array"});
  expect_error([] { DeepseekV3Config::from_json("{\"a\": ", "x.json"); }, {"x.json", "line 1"});
}

TEST(ConfigTest, SizesThatDoNotFitTogetherNameBothNumbers) {
  expect_refused("n_group", 3, {"n_group 3", "n_routed_experts 16"});
  expect_refused("n_group", 16, {"n_group 16", "n_routed_experts 16", "best 2"});
  expect_refused("topk_group", 5, {"topk_group 5", "n_group 4"});
  expect_refused("num_experts_per_tok", 9, {"num_experts_per_tok 9", "8", "topk_group 2"});
  EXPECT_NO_THROW(with("num_experts_per_tok", 8));
  expect_refused("qk_rope_head_dim", 7, {"qk_rope_head_dim", "7", "even"});
  expect_refused("num_key_value_heads", 2, {"num_key_value_heads 2", "num_attention_heads 4"});
  expect_refused("pad_token_id", 100, {"pad_token_id 100", "vocab_size 100"});
  expect_refused("pad_token_id", -1, {"pad_token_id -1", "vocab_size 100"});
  expect_refused("head_dim", 16, {"head_dim", "16", "8", "qk_rope_head_dim"});
  expect_refused("qk_head_dim", 25, {"qk_head_dim", "25", "24"});
  Json aliased = small();
  aliased["num_local_experts"] = 32;
  expect_error([&] { load(aliased); }, {"num_local_experts", "32", "16"});
  aliased.erase("n_routed_experts");
  EXPECT_EQ(load(aliased).n_routed_experts, 32);
}

TEST(ConfigTest, ZeroNegativeAndAbsurdSizesAreRefused) {
  for (const char* field :
       {"vocab_size", "hidden_size", "intermediate_size", "moe_intermediate_size",
        "num_hidden_layers", "num_attention_heads", "n_routed_experts", "n_shared_experts",
        "kv_lora_rank", "q_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim",
        "n_group", "topk_group", "num_experts_per_tok", "max_position_embeddings"}) {
    expect_refused(field, 0, {field, "0"});
    expect_refused(field, -8, {field, "-8"});
    expect_refused(field, int64_t{1} << 40, {field, "1099511627776"});
  }
  expect_refused("first_k_dense_replace", -1, {"first_k_dense_replace", "-1"});
  expect_refused("rms_norm_eps", -1e-6, {"rms_norm_eps"});
  expect_refused("attention_dropout", 1.0, {"attention_dropout", "1"});
}

TEST(ConfigTest, DenseModelsNeedNoRouter) {
  Json json = small();
  json["first_k_dense_replace"] = 7;
  json["n_routed_experts"] = 0;
  EXPECT_FALSE(load(json).is_moe_layer(2));
  json["num_nextn_predict_layers"] = 1;
  json["first_k_dense_replace"] = 3;  // The MTP module has experts.
  expect_error([&] { load(json); }, {"n_routed_experts", "0"});
}

TEST(ConfigTest, RotaryParametersFollowTransformers) {
  expect_refused("rope_parameters", Json::parse(R"({"rope_type": "linear"})"),
                 {"factor", "linear"});
  expect_error([] { with_rope(R"({"rope_type": "yarn", "factor": "40"})"); },
               {"rope_parameters.factor", "\"40\""});
  expect_error([] { with_rope(R"({"rope_type": "yarn", "factor": 0})"); }, {"factor", "0"});
  expect_error([] { with_rope(R"({"rope_theta": -1})"); }, {"rope_theta", "-1"});
  // YaRN without the original length: the length of the config.
  EXPECT_EQ(with_rope(R"({"rope_type": "yarn", "factor": 4})")
                .rope_parameters.original_max_position_embeddings,
            4096);
  // A null factor: the ratio of both lengths.
  EXPECT_EQ(with_rope(R"({"rope_type": "yarn", "factor": null,
                          "original_max_position_embeddings": 64})")
                .rope_parameters.factor,
            64);
  // rope_type wins over type, rope_scaling over rope_parameters, the inner theta over the outer.
  EXPECT_EQ(with_rope(R"({"type": "yarn", "rope_type": "default"})").rope_parameters.rope_type,
            "default");
  Json json = small();
  json["rope_theta"] = 77;
  EXPECT_EQ(load(json).rope_parameters.rope_theta, 10000);
  json["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
  EXPECT_EQ(load(json).rope_parameters.rope_type, "linear");
  EXPECT_EQ(load(json).rope_parameters.rope_theta, 77);
}

TEST(ConfigTest, TheOfficialConfigurationMeansWhatTheReportSays) {
  const DeepseekV3Config c = DeepseekV3Config::from_json(R"({
    "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
    "bos_token_id": 0, "eos_token_id": 1, "ep_size": 1, "first_k_dense_replace": 3,
    "hidden_act": "silu", "hidden_size": 7168, "initializer_range": 0.02,
    "intermediate_size": 18432, "kv_lora_rank": 512, "max_position_embeddings": 163840,
    "model_type": "deepseek_v3", "moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_group": 8,
    "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": true,
    "num_attention_heads": 128, "num_experts_per_tok": 8, "num_hidden_layers": 61,
    "num_key_value_heads": 128, "num_nextn_predict_layers": 1, "q_lora_rank": 1536,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                            "weight_block_size": [128, 128]},
    "rms_norm_eps": 1e-06,
    "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0,
                     "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096,
                     "type": "yarn"},
    "rope_theta": 10000, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid",
    "tie_word_embeddings": false, "topk_group": 4, "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16", "transformers_version": "4.33.1", "use_cache": true,
    "v_head_dim": 128, "vocab_size": 129280})");
  EXPECT_EQ(c.qk_head_dim(), 192);
  EXPECT_TRUE(c.rope_interleave);  // The file does not say it.
  EXPECT_EQ(c.rope_parameters.factor, 40);
  EXPECT_EQ(c.rope_parameters.original_max_position_embeddings, 4096);
  EXPECT_EQ(c.num_nextn_predict_layers, 1);
  EXPECT_FALSE(c.is_moe_layer(2));
  EXPECT_TRUE(c.is_moe_layer(3));
  EXPECT_TRUE(c.is_moe_layer(61));
  EXPECT_EQ(c.quantization_config->scale_fmt, "");
  EXPECT_EQ(c.dtype, "bfloat16");
  EXPECT_EQ(Json::parse(c.to_json())["ep_size"], 1);
}

TEST(ConfigTest, AnyValueInAnyFieldIsReadOrRefused) {
  const Json values = Json::parse(R"([null, true, -1, 0, 1, 3, 1.5, 1e300, -9223372036854775808,
    9223372036854775807, 18446744073709551615, "", "x", [], [1], ["x"], {}, {"a": {}}, {"0": "x"}])");
  Json all = Json::parse(DeepseekV3Config().to_json());
  for (const char* older :
       {"rope_scaling", "rope_theta", "torch_dtype", "num_local_experts", "num_labels", "id2label",
        "label2id", "problem_type", "quantization_config", "topk_method", "scoring_func",
        "moe_layer_freq", "num_nextn_predict_layers", "partial_rotary_factor",
        "original_max_position_embeddings", "output_attentions"}) {
    all[older] = nullptr;
  }
  const auto try_load = [](const Json& json) {
    try {
      const DeepseekV3Config c = load(json);
      EXPECT_EQ(load(Json::parse(c.to_json())).to_json(), c.to_json()) << json.dump();
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).rfind("config.json: ", 0), 0u) << e.what();
    }
  };
  for (const auto& [key, unused] : all.items()) {
    for (const Json& value : values) {
      Json json = small();
      json[key] = value;
      try_load(json);
    }
  }
  const auto inside = [&](const char* section, const Json& good) {
    for (const auto& [key, unused] : good.items()) {
      for (const Json& value : values) {
        Json json = small();
        json[section] = good;
        json[section][key] = value;
        try_load(json);
      }
    }
  };
  inside("rope_scaling", Json::parse(R"({"type": "yarn", "rope_type": "yarn", "factor": 4,
    "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1, "mscale": 1,
    "mscale_all_dim": 1, "attention_factor": 1, "truncate": true, "rope_theta": 10000})"));
  inside("quantization_config", Json::parse(R"({"quant_method": "fp8", "fmt": "e4m3",
    "activation_scheme": "dynamic", "weight_block_size": [128, 128], "scale_fmt": "ue8m0"})"));
}

TEST(ConfigTest, FoldersAndMissingFilesAreNamed) {
  EXPECT_EQ(DeepseekV3Config::from_file(kSource / "models/stories").hidden_size, 256);
  expect_error([] { DeepseekV3Config::from_file(kSource / "include"); },
               {"include", "config.json"});
  expect_error([] { DeepseekV3Config::from_file("/no/such/config.json"); },
               {"/no/such/config.json"});
}

}  // namespace
}  // namespace dsv3
