// Wrong arguments and wrong checkpoints: one clear Error that says what was found and what was
// expected.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "model/test_models.h"

namespace dsv3 {
namespace {

using model::Head;

class BadCallTest : public testing::Test {
 protected:
  const DeepseekV3ForCausalLM model_ = load(TestCheckpoint(tiny_config()));

  void expect_refused(const ForwardArgs& args, std::initializer_list<const char*> parts) const {
    expect_error([&] { model_.forward(args); }, parts);
    // The model is as good as before.
    model_.forward({.input_ids = id_row({1, 2, 3})});
  }
};

TEST_F(BadCallTest, ExactlyOneOfIdsAndEmbeddings) {
  expect_refused({}, {"input_ids", "inputs_embeds", "neither"});
  expect_refused({.input_ids = id_row({1}), .inputs_embeds = Tensor(DType::kF32, {1, 1, 24})},
                 {"both"});
}

TEST_F(BadCallTest, RanksAndTypesOfTheInput) {
  expect_refused({.input_ids = Tensor::from({1, 2}, {2})},
                 {"input_ids", "[batch, sequence]", "[2]"});
  expect_refused({.input_ids = Tensor(DType::kF32, {1, 2})}, {"input_ids", "I64", "F32"});
  expect_refused({.input_ids = Tensor(DType::kI32, {1, 2})}, {"input_ids", "I64", "I32"});
  expect_refused({.inputs_embeds = Tensor(DType::kF32, {1, 2, 23})},
                 {"inputs_embeds", "24", "[1, 2, 23]"});
  expect_refused({.inputs_embeds = Tensor(DType::kF32, {2, 24})}, {"inputs_embeds", "[2, 24]"});
  expect_refused({.inputs_embeds = Tensor(DType::kBF16, {1, 2, 24})},
                 {"inputs_embeds", "F32", "BF16"});
}

TEST_F(BadCallTest, EmptyBatchesAndSequences) {
  expect_refused({.input_ids = Tensor(DType::kI64, {0, 3})}, {"0 by 3"});
  expect_refused({.input_ids = Tensor(DType::kI64, {2, 0})}, {"2 by 0"});
  expect_refused({.inputs_embeds = Tensor(DType::kF32, {0, 0, 24})}, {"0 by 0"});
}

TEST_F(BadCallTest, AttentionMaskCoversPastAndNewColumns) {
  expect_refused({.input_ids = id_row({1, 2, 3}), .attention_mask = id_row({1, 1})},
                 {"attention_mask", "[1, 3]", "[1, 2]"});
  expect_refused({.input_ids = id_row({1, 2, 3}), .attention_mask = Tensor(DType::kF32, {1, 3})},
                 {"attention_mask", "I64", "F32"});
  expect_refused({.input_ids = id_rows({{1, 2}, {3, 4}}), .attention_mask = id_row({1, 1})},
                 {"attention_mask", "[2, 2]", "[1, 2]"});
  const auto past = model_.forward({.input_ids = id_row({1, 2, 3})}).past_key_values;
  expect_refused(
      {.input_ids = id_row({4, 5}), .attention_mask = id_row({1, 1}), .past_key_values = past},
      {"[1, 5]", "3 past + 2 new", "[1, 2]"});
}

TEST_F(BadCallTest, PositionIds) {
  expect_refused({.input_ids = id_row({1, 2}), .position_ids = id_row({0, -1})},
                 {"position_ids", "-1"});
  expect_refused({.input_ids = id_row({1, 2}), .position_ids = id_row({0, 1, 2})},
                 {"position_ids", "[1, 2]", "[1, 3]"});
  expect_refused({.input_ids = id_row({1, 2}), .position_ids = Tensor(DType::kF32, {1, 2})},
                 {"position_ids", "I64"});
  expect_refused({.input_ids = id_rows({{1}, {2}, {3}}), .position_ids = id_rows({{1}, {2}})},
                 {"[3, 1]", "[2, 1]"});
}

TEST_F(BadCallTest, IdsOutsideTheVocabularyAreNamed) {
  expect_refused({.input_ids = id_rows({{1, 2}, {3, 50}})}, {"input_ids[1, 1] is 50", "[0, 50)"});
  expect_refused({.input_ids = id_rows({{1, -1}, {3, 5}})}, {"input_ids[0, 1] is -1"});
  // Padding may hold anything.
  model_.forward({.input_ids = id_row({-1, 1}), .attention_mask = id_row({0, 1})});
}

TEST_F(BadCallTest, Labels) {
  const Tensor ids = id_row({1, 2, 3});
  expect_refused({.input_ids = ids, .labels = id_row({1, 50, 2})}, {"label 50", "[0, 50)"});
  expect_refused({.input_ids = ids, .labels = id_row({1, 2, -1})}, {"label -1", "-100"});
  expect_refused({.input_ids = ids, .labels = id_row({1, 2})}, {"labels", "[1, 3]", "[1, 2]"});
  expect_refused({.input_ids = ids, .labels = Tensor(DType::kF32, {1, 3})},
                 {"labels", "I64", "F32"});
  expect_refused({.input_ids = ids, .labels = ids, .logits_to_keep = 2},
                 {"labels", "3 columns", "2"});
  // Column 1 is to be predicted from column 0, which has no logits.
  expect_refused({.input_ids = ids, .attention_mask = id_row({0, 1, 1}), .labels = ids},
                 {"labels[0, 1]", "-100"});
  const auto out = model_.forward(
      {.input_ids = ids, .attention_mask = id_row({0, 1, 1}), .labels = id_row({-100, -100, 3})});
  EXPECT_TRUE(std::isfinite(out.loss.as<float>()[0]));
}

TEST_F(BadCallTest, LogitsToKeep) {
  const Tensor ids = id_row({1, 2, 3});
  expect_refused({.input_ids = ids, .logits_to_keep = -1}, {"logits_to_keep", "-1"});
  expect_refused({.input_ids = ids, .logits_to_keep_indices = Tensor::from({0, 3}, {2})},
                 {"logits_to_keep", "3"});
  expect_refused({.input_ids = ids, .logits_to_keep_indices = Tensor::from({-4}, {1})},
                 {"logits_to_keep", "-4"});
  expect_refused({.input_ids = ids, .logits_to_keep_indices = Tensor(DType::kF32, {1})},
                 {"logits_to_keep", "I64", "F32"});
  expect_refused({.input_ids = ids, .logits_to_keep_indices = id_row({1})},
                 {"logits_to_keep", "[1, 1]"});
}

TEST_F(BadCallTest, CacheOfAnotherModelOrBatch) {
  DeepseekV3Config deeper = tiny_config(), wider = tiny_config();
  deeper.num_hidden_layers = 3;
  wider.kv_lora_rank = 13;
  expect_refused({.input_ids = id_row({1}), .past_key_values = Cache::dynamic(deeper)},
                 {"past_key_values", "3", "2"});
  expect_refused({.input_ids = id_row({1}), .past_key_values = Cache::dynamic(wider)},
                 {"past_key_values", "17", "16"});
  const auto past = model_.forward({.input_ids = id_row({1, 2})}).past_key_values;
  expect_refused({.input_ids = id_rows({{1}, {2}}), .past_key_values = past}, {"holds 1", "has 2"});
}

TEST_F(BadCallTest, NotANumberInTheEmbeddings) {
  Tensor embeds(DType::kF32, {1, 2, 24});
  embeds.as_mutable<float>()[3] = INFINITY;
  expect_refused({.inputs_embeds = embeds}, {"last_hidden_state", "nan"});
}

TEST_F(BadCallTest, MtpThatWasNotLoaded) {
  const Tensor ids = id_row({1, 2, 3});
  expect_error(
      [&] {
        model_.forward_mtp(ids, Tensor(DType::kF32, {1, 3, 24}));
      },
      {"num_nextn_predict_layers is 0"});
  expect_error([&] { load(TestCheckpoint(tiny_config()), {.load_mtp = true}); },
               {"num_nextn_predict_layers is 0"});

  const auto mtp = DeepseekV3ForCausalLM::from_pretrained(golden_model("mtp"), {.load_mtp = true});
  const Tensor hidden(DType::kF32, {1, 3, 64});
  expect_error([&] { mtp.forward_mtp(id_row({1}), hidden); }, {"input_ids", "2 or more", "[1, 1]"});
  expect_error(
      [&] {
        mtp.forward_mtp(Tensor(DType::kF32, {1, 3}), hidden);
      },
      {"input_ids", "I64", "F32"});
  expect_error(
      [&] {
        mtp.forward_mtp(id_row({1, 2}), hidden);
      },
      {"last_hidden_state", "[1, 2, 64]", "[1, 3, 64]"});
  expect_error(
      [&] {
        mtp.forward_mtp(ids, Tensor(DType::kBF16, {1, 3, 64}));
      },
      {"last_hidden_state", "BF16"});
  expect_error(
      [&] {
        mtp.forward_mtp(id_row({1, 2, 128}), hidden);
      },
      {"input_ids[0, 2] is 128", "[0, 128)"});
  expect_error([&] { mtp.forward_mtp(ids, hidden, id_row({1, 2})); }, {"labels", "[1, 3]"});
  expect_error([&] { mtp.forward_mtp(ids, hidden, id_row({1, 2, 128})); }, {"label 128"});
}

TEST(BadClassificationTest, BatchesNeedAPaddingToken) {
  DeepseekV3Config config = tiny_config();
  config.num_labels = 3;
  const auto model = load<DeepseekV3ForSequenceClassification>(
      TestCheckpoint(config, Head::kSequenceClassification));
  expect_error(
      [&] {
        model.forward({.input_ids = id_rows({{1, 2}, {3, 4}})});
      },
      {"pad_token_id", "batch of 2"});
  EXPECT_EQ(model.forward({.input_ids = id_row({1, 2})}).logits.shape(), (Shape{1, 3}));
}

TEST(BadClassificationTest, LabelsFitTheProblem) {
  DeepseekV3Config config = tiny_config();
  config.num_labels = 3;
  config.pad_token_id = 0;
  const TestCheckpoint checkpoint(config, Head::kSequenceClassification);
  const auto model = load<DeepseekV3ForSequenceClassification>(checkpoint);
  const Tensor ids = id_rows({{1, 2}, {3, 4}});
  expect_error(
      [&] {
        model.forward({.input_ids = ids, .labels = Tensor::from({0, 3}, {2})});
      },
      {"label 3", "[0, 3)"});
  expect_error([&] { model.forward({.input_ids = ids, .labels = Tensor::from({0}, {1})}); },
               {"labels", "[2]", "[1]"});
  expect_error([&] { model.forward({.input_ids = ids, .labels = Tensor(DType::kF32, {2})}); },
               {"labels", "multi_label", "[2, 3]", "[2]"});
  expect_error(
      [&] {
        model.forward({.input_ids = ids, .attention_mask = id_rows({{1, 0}, {1, 1}})});
      },
      {"attention_mask", "column 1 of row 0", "pad_token_id 0"});
}

TEST(BadClassificationTest, TokenLabels) {
  const auto model = load<DeepseekV3ForTokenClassification>(
      TestCheckpoint(tiny_config(), Head::kTokenClassification));
  const Tensor ids = id_row({1, 2, 3});
  expect_error(
      [&] {
        model.forward({.input_ids = ids, .labels = id_row({0, 1, 2})});
      },
      {"label 2", "[0, 2)"});
  expect_error(
      [&] {
        model.forward(
            {.input_ids = ids, .attention_mask = id_row({0, 1, 1}), .labels = id_row({0, 1, 1})});
      },
      {"labels[0, 0]", "-100"});
}

TEST(BadWeightsTest, NotANumberInASmallTensorIsNamedOnLoading) {
  for (const char* name : {"model.norm.weight", "model.layers.0.self_attn.kv_a_layernorm.weight",
                           "model.layers.1.mlp.gate.e_score_correction_bias"}) {
    TestCheckpoint checkpoint(tiny_config());
    checkpoint.tensors.at(name).as_mutable<float>()[5] = NAN;
    expect_error([&] { load(checkpoint); }, {name, "element 5", "nan"});
  }
}

TEST(BadWeightsTest, NotFiniteInALargeTensorIsAnErrorOfTheCall) {
  const auto spoiled = [](const std::string& name, float value) {
    TestCheckpoint checkpoint(tiny_config());
    // Every expert, so that some token meets one of them.
    for (auto& [other, t] : checkpoint.tensors) {
      const bool is_expert = name == "experts" && other.find("mlp.experts.") != std::string::npos;
      if (other == name || is_expert) t.as_mutable<float>()[0] = value;
    }
    return checkpoint;
  };
  for (const char* name :
       {"experts", "model.layers.1.mlp.gate.weight", "model.layers.0.self_attn.q_a_proj.weight",
        "model.layers.1.self_attn.kv_b_proj.weight"}) {
    // An infinite router logit or attention score is a weight of 0 or 1, with which the model can
    // work.
    const bool may_be_infinite =
        std::string_view(name).find("gate.weight") != std::string_view::npos ||
        std::string_view(name).find("kv_b_proj") != std::string_view::npos;
    for (const float value : {NAN, INFINITY}) {
      if (may_be_infinite && value == INFINITY) continue;
      const auto model = load(spoiled(name, value));
      for (const int64_t n : {1, 20}) {
        SCOPED_TRACE(fmt::format("{} in {}, {} tokens", value, name, n));
        expect_error([&] { model.forward({.input_ids = id_row(random_ids(n, 50))}); },
                     {"last_hidden_state", "dsv3 verify"});
      }
    }
  }
  const auto model = load(spoiled("lm_head.weight", INFINITY));
  expect_error([&] { model.forward({.input_ids = id_row({1, 2, 3})}); }, {"logits", "dsv3 verify"});
}

TEST(BadCheckpointTest, EverythingThatDoesNotFitIsNamedTogether) {
  TestCheckpoint checkpoint(tiny_config());
  checkpoint.tensors.erase("model.layers.1.mlp.experts.3.up_proj.weight");
  checkpoint.tensors.erase("model.norm.weight");
  checkpoint.tensors["model.layers.0.self_attn.o_proj.weight"] = Tensor(DType::kF32, {24, 11});
  checkpoint.tensors["model.layers.0.mlp.gate_proj.weight"] = Tensor(DType::kI64, {20, 24});
  checkpoint.tensors["model.layers.7.surprise"] = Tensor(DType::kF32, {1});
  expect_error(
      [&] { load(checkpoint); },
      {"missing (2)", "model.layers.1.mlp.experts.3.up_proj.weight", "model.norm.weight",
       "not as expected (2)",
       "model.layers.0.self_attn.o_proj.weight: expected [24, 10], found F32 [24, 11]",
       "model.layers.0.mlp.gate_proj.weight", "I64", "unexpected (1)", "model.layers.7.surprise"});
}

TEST(BadCheckpointTest, PackedExpertsOfAWrongShapeAreNamedOnce) {
  TestCheckpoint checkpoint(tiny_config());
  checkpoint.pack_experts(1);
  checkpoint.tensors["model.layers.1.mlp.experts.gate_up_proj"] = Tensor(DType::kF32, {6, 10, 24});
  checkpoint.tensors["model.layers.1.mlp.experts.down_proj"] = Tensor(DType::kF32, {24, 10});
  expect_error([&] { load(checkpoint); },
               {"not as expected (2)", "gate_up_proj: expected [6, 20, 24], found F32 [6, 10, 24]",
                "down_proj: expected [6, 24, 10], found F32 [24, 10]"});
}

// A model with all its linears in FP8, blocks of 8 by 8.
TestCheckpoint fp8_checkpoint() {
  DeepseekV3Config config = tiny_config();
  config.quantization_config.emplace();
  config.quantization_config->block_rows = config.quantization_config->block_cols = 8;
  TestCheckpoint checkpoint(config);
  model::ModelWeights weights;
  for (const auto& slot : model::enumerate_tensors(config, Head::kCausalLm, false, weights)) {
    if (slot.role != model::TensorRole::kLinear) continue;
    Tensor codes = Tensor::empty(DType::kF8E4M3, slot.shape);
    for (size_t i = 0; i < codes.bytes(); ++i)
      codes.as_mutable<uint8_t>()[i] = static_cast<uint8_t>(i * 37 % 64);
    Tensor scale(DType::kF32, {(slot.shape[0] + 7) / 8, (slot.shape[1] + 7) / 8});
    for (float& s : scale.as_mutable<float>()) s = 0.1f;
    checkpoint.tensors[slot.name] = codes;
    checkpoint.tensors[slot.name + "_scale_inv"] = scale;
  }
  return checkpoint;
}

TEST(BadFp8Test, WeightsNeedAQuantizationConfig) {
  TestCheckpoint checkpoint = fp8_checkpoint();
  load(checkpoint).forward({.input_ids = id_row({1, 2})});
  checkpoint.config.quantization_config.reset();
  expect_error([&] { load(checkpoint); },
               {"model.layers.0.self_attn.q_a_proj.weight", "quantization_config", "F8_E4M3"});
}

TEST(BadFp8Test, ScalesMustBeThereAndFit) {
  const std::string name = "model.layers.1.mlp.experts.2.down_proj.weight_scale_inv";
  TestCheckpoint checkpoint = fp8_checkpoint();
  checkpoint.tensors.erase(name);
  expect_error([&] { load(checkpoint); }, {"missing (1)", name.c_str()});
  checkpoint.tensors[name] = Tensor(DType::kF32, {3, 1});
  expect_error([&] { load(checkpoint); }, {name.c_str(), "[3, 2]", "[3, 1]"});
  checkpoint.tensors[name] = Tensor(DType::kI32, {3, 2});
  expect_error([&] { load(checkpoint); }, {name.c_str(), "F32", "I32"});
}

TEST(BadFp8Test, OnlyLinearsMayBeFp8) {
  TestCheckpoint checkpoint = fp8_checkpoint();
  checkpoint.tensors["lm_head.weight"] = Tensor(DType::kF8E4M3, {50, 24});
  checkpoint.tensors["model.layers.1.mlp.gate.weight"] = Tensor(DType::kF8E4M3, {6, 24});
  expect_error([&] { load(checkpoint); },
               {"not as expected (2)", "lm_head.weight", "model.layers.1.mlp.gate.weight"});
}

TEST(BadFp8Test, DynamicActivationsNeedFp8Weights) {
  const LoadOptions dynamic{.fp8_activations = Fp8Mode::kDynamic};
  expect_error([&] { load(TestCheckpoint(tiny_config()), dynamic); },
               {"fp8 activations", "no quantization_config"});
  expect_error(
      [&] {
        load(fp8_checkpoint(),
             {.dtype = WeightDType::kFloat32, .fp8_activations = Fp8Mode::kDynamic});
      },
      {"fp8 activations", "converted"});
  load(fp8_checkpoint(), dynamic).forward({.input_ids = id_row({1, 2})});
}

TEST(BadCheckpointTest, FoldersWithoutAModel) {
  const TemporaryFolder folder;
  expect_error([&] { DeepseekV3ForCausalLM::from_pretrained(folder / "nowhere"); }, {"nowhere"});
  expect_error([&] { DeepseekV3ForCausalLM::from_pretrained(folder.path()); }, {"config.json"});
  write_file_atomically(folder / "config.json", tiny_config().to_json());
  expect_error([&] { DeepseekV3ForCausalLM::from_pretrained(folder.path()); }, {"safetensors"});
}

TEST(BadCheckpointTest, AHeadThatTheCheckpointDoesNotHave) {
  const TestCheckpoint bare(tiny_config(), Head::kNone);
  expect_error([&] { load(bare); }, {"lm_head.weight"});
  expect_error([&] { load<DeepseekV3ForSequenceClassification>(bare); }, {"score.weight"});
  expect_error([&] { load<DeepseekV3ForTokenClassification>(bare); },
               {"score.weight", "score.bias"});
  load<DeepseekV3Model>(bare);
  // And the other way round: heads that are not asked for are left where they are.
  load<DeepseekV3Model>(TestCheckpoint(tiny_config()));
}

}  // namespace
}  // namespace dsv3
