// What is saved and loaded again is the same model: every tensor and every logit, bit for bit.
#include <gtest/gtest.h>

#include "model/pretrained.h"
#include "model/test_models.h"

namespace dsv3 {
namespace {

using model::Head;

/// All tensors that a model holds, scales included, by name.
std::map<std::string, Tensor> tensors_of(const PreTrainedModel& m) {
  model::ModelWeights weights = m.loaded().weights;
  std::map<std::string, Tensor> tensors;
  for (const auto& slot :
       model::enumerate_tensors(m.config(), m.loaded().head, !weights.mtp.empty(), weights)) {
    tensors[slot.name] = *slot.tensor;
    if (slot.linear != nullptr && slot.linear->scale_inv.defined()) {
      tensors[slot.name + "_scale_inv"] = slot.linear->scale_inv;
    }
  }
  return tensors;
}

void expect_same_tensors(const PreTrainedModel& a, const PreTrainedModel& b) {
  const auto before = tensors_of(a), after = tensors_of(b);
  ASSERT_EQ(before.size(), after.size());
  for (const auto& [name, tensor] : before) {
    ASSERT_TRUE(after.contains(name)) << name;
    SCOPED_TRACE(name);
    expect_same(tensor, after.at(name));
  }
  EXPECT_EQ(a.num_parameters(), b.num_parameters());
}

template <typename Model>
Model expect_round_trip(const Model& model, const LoadOptions& options,
                        int64_t max_shard_bytes = 5'000'000'000) {
  const TemporaryFolder folder;
  model.save_pretrained(folder.path(), max_shard_bytes);
  const Model again = Model::from_pretrained(folder.path(), options);
  expect_same_tensors(model, again);
  const ForwardArgs args{.input_ids = id_row(random_ids(20, model.config().vocab_size))};
  const ModelOutput a = model.forward(args), b = again.forward(args);
  if (a.logits.defined()) expect_same(a.logits, b.logits);
  if (a.last_hidden_state.defined()) expect_same(a.last_hidden_state, b.last_hidden_state);
  return again;
}

TEST(SaveLoadTest, GoldenModelsInEveryDType) {
  for (const char* name :
       {"causal_basic", "bf16_sharded", "fp8", "packed_experts", "tied_embeddings",
        "attention_bias", "no_q_lora", "all_dense", "yarn_legacy"}) {
    for (const WeightDType dtype :
         {WeightDType::kAsStored, WeightDType::kFloat32, WeightDType::kBFloat16}) {
      SCOPED_TRACE(name);
      const auto model =
          DeepseekV3ForCausalLM::from_pretrained(golden_model(name), {.dtype = dtype});
      // What was converted needs no conversion when it is loaded again.
      const auto again = expect_round_trip(
          model,
          {.attention = AttentionForm::kAuto, .deterministic = dtype == WeightDType::kFloat32});
      DeepseekV3Config before = model.config(), after = again.config();
      before.original_json.clear();
      after.original_json.clear();
      EXPECT_EQ(before, after);
    }
  }
}

TEST(SaveLoadTest, ShardsOfAnySize) {
  const auto model = load(TestCheckpoint(tiny_config()));
  for (const int64_t bytes : {1, 3000, 20000, 1 << 30}) {
    const TemporaryFolder folder;
    model.save_pretrained(folder.path(), bytes);
    int64_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
      files += entry.path().extension() == ".safetensors" ? 1 : 0;
    }
    const bool one_file = bytes == 1 << 30;
    EXPECT_EQ(files == 1, one_file) << bytes;
    EXPECT_EQ(std::filesystem::exists(folder / "model.safetensors.index.json"), !one_file);
    expect_same_tensors(model, DeepseekV3ForCausalLM::from_pretrained(folder.path()));
    expect_round_trip(model, {}, bytes);
  }
  const TemporaryFolder folder;
  expect_error([&] { model.save_pretrained(folder.path(), 0); }, {"max_shard_bytes", "0"});
}

TEST(SaveLoadTest, SavingOverTheFolderItWasLoadedFrom) {
  const TemporaryFolder folder;
  TestCheckpoint(tiny_config()).write(folder.path());
  const auto model = DeepseekV3ForCausalLM::from_pretrained(folder.path());
  model.save_pretrained(folder.path(), 5000);
  expect_same_tensors(model, DeepseekV3ForCausalLM::from_pretrained(folder.path()));
  model.save_pretrained(folder.path());
  expect_same_tensors(model, DeepseekV3ForCausalLM::from_pretrained(folder.path()));
}

TEST(SaveLoadTest, CorrectionBiasKeepsAllItsBits) {
  TestCheckpoint checkpoint(tiny_config());
  Tensor& bias = checkpoint.tensors["model.layers.1.mlp.gate.e_score_correction_bias"];
  // Numbers that bf16 would round, as large as they are in the official model.
  for (int64_t e = 0; e < bias.numel(); ++e)
    bias.as_mutable<float>()[e] = 14.123456f + 0.0123457f * static_cast<float>(e);
  for (const WeightDType dtype :
       {WeightDType::kAsStored, WeightDType::kFloat32, WeightDType::kBFloat16}) {
    const auto model = load(checkpoint, {.dtype = dtype, .deterministic = true});
    expect_same(model.loaded().weights.layers[1].moe.e_score_correction_bias, bias);
    const auto again = expect_round_trip(model, {.deterministic = true});
    expect_same(again.loaded().weights.layers[1].moe.e_score_correction_bias, bias);
  }
}

TEST(SaveLoadTest, MtpModuleIsSavedIfItWasLoaded) {
  const LoadOptions with_mtp{.load_mtp = true};
  const auto model = DeepseekV3ForCausalLM::from_pretrained(golden_model("mtp"), with_mtp);
  const auto again = expect_round_trip(model, with_mtp);
  EXPECT_EQ(again.config().num_nextn_predict_layers, 1);
  const Tensor ids = id_row(random_ids(9, model.config().vocab_size));
  const auto hidden = model.forward({.input_ids = ids}).last_hidden_state;
  expect_same(model.forward_mtp(ids, hidden).logits, again.forward_mtp(ids, hidden).logits);

  const auto without = DeepseekV3ForCausalLM::from_pretrained(golden_model("mtp"));
  EXPECT_LT(without.num_parameters(), model.num_parameters());
  EXPECT_EQ(expect_round_trip(without, {}).config().num_nextn_predict_layers, 0);
}

TEST(SaveLoadTest, MtpModuleWithoutCopiesSharesTheMainTables) {
  DeepseekV3Config config = tiny_config();
  config.num_nextn_predict_layers = 1;
  TestCheckpoint checkpoint(config, Head::kCausalLm, true);
  for (const char* copy : {"embed_tokens", "shared_head.head"}) {
    ASSERT_EQ(checkpoint.tensors.erase("model.layers.2." + std::string(copy) + ".weight"), 1u);
  }
  const LoadOptions with_mtp{.load_mtp = true};
  const auto model = load(checkpoint, with_mtp);
  EXPECT_EQ(model.loaded().weights.mtp[0].shared_head.weight.raw(),
            model.loaded().weights.lm_head.weight.raw());
  expect_round_trip(model, with_mtp);
  // A model without a head has none to share; there is nothing of it to count or to save.
  const auto bare = load<DeepseekV3Model>(checkpoint, with_mtp);
  EXPECT_EQ(bare.num_parameters(),
            model.num_parameters() - 2 * config.vocab_size * config.hidden_size);
  const TemporaryFolder folder;
  bare.save_pretrained(folder.path());
  EXPECT_EQ(DeepseekV3Model::from_pretrained(folder.path(), with_mtp).num_parameters(),
            bare.num_parameters());
}

TEST(SaveLoadTest, ClassificationHeads) {
  DeepseekV3Config config = tiny_config();
  config.num_labels = 3;
  config.pad_token_id = 0;
  expect_round_trip(load<DeepseekV3ForSequenceClassification>(
                        TestCheckpoint(config, Head::kSequenceClassification)),
                    {});
  expect_round_trip(
      load<DeepseekV3ForTokenClassification>(TestCheckpoint(config, Head::kTokenClassification)),
      {});
  expect_round_trip(load<DeepseekV3Model>(TestCheckpoint(config, Head::kNone)), {});
  expect_round_trip(DeepseekV3Model::from_pretrained(golden_model("bare_model")), {});
}

TEST(SaveLoadTest, PackedExpertsEqualSingleOnes) {
  const TestCheckpoint single(tiny_config());
  TestCheckpoint packed = single;
  packed.pack_experts(1);
  ASSERT_LT(packed.tensors.size(), single.tensors.size());
  expect_same_tensors(load(single), load(packed));
}

TEST(SaveLoadTest, SavedNamesAreTheOfficialOnes) {
  const auto model = DeepseekV3ForCausalLM::from_pretrained(golden_model("packed_experts"));
  const TemporaryFolder folder;
  model.save_pretrained(folder.path());
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  for (const char* name :
       {"model.embed_tokens.weight", "model.layers.1.mlp.experts.11.gate_proj.weight",
        "model.layers.1.mlp.gate.e_score_correction_bias", "model.norm.weight", "lm_head.weight",
        "model.layers.0.self_attn.kv_a_proj_with_mqa.weight"}) {
    EXPECT_TRUE(checkpoint.contains(name)) << name;
  }
  const auto tied = DeepseekV3ForCausalLM::from_pretrained(golden_model("tied_embeddings"));
  tied.save_pretrained(folder.path());
  EXPECT_FALSE(Checkpoint::open(folder.path()).contains("lm_head.weight"));
}

TEST(SaveLoadTest, Fp8StaysFp8WithItsScales) {
  const auto model = DeepseekV3ForCausalLM::from_pretrained(golden_model("fp8"));
  const TemporaryFolder folder;
  model.save_pretrained(folder.path(), 20000);
  const Checkpoint before = Checkpoint::open(golden_model("fp8")),
                   after = Checkpoint::open(folder.path());
  EXPECT_EQ(before.names(), after.names());
  for (const std::string& name : before.names()) {
    const auto a = before.find(name), b = after.find(name);
    SCOPED_TRACE(name);
    if (a->dtype == DType::kF8E4M3 || a->dtype == DType::kF32) {
      expect_same(before.tensor(name), after.tensor(name));
    } else {
      EXPECT_EQ(a->shape, b->shape);
    }
  }
}

}  // namespace
}  // namespace dsv3
