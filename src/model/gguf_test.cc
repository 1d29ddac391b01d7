// Models as GGUF files: names, keys, both layouts of kv_b_proj, packed experts, block formats.

#include <gtest/gtest.h>

#include "base/error.h"
#include "checkpoint/gguf_writer.h"
#include "formats/block_format.h"
#include "formats/convert.h"
#include "model/gguf_config.h"
#include "model/gguf_export.h"
#include "model/pretrained.h"
#include "model/test_models.h"

namespace dsv3 {
namespace {

using model::Head;
using model::TensorRole;

// Writes a folder's model as a GGUF file, in float32 or with `linear` as the type of projections
// and experts where their rows are whole blocks.
void write_as_gguf(const std::filesystem::path& folder, const std::filesystem::path& path,
                   bool split_kv_b, bool mtp = false, DType linear = DType::kF32) {
  LoadOptions options;
  options.load_mtp = mtp;
  const auto loaded = model::load_pretrained(folder, Head::kCausalLm, options);
  GgufMetadata metadata;
  DeepseekV3Config config = loaded->config;
  if (!mtp) config.num_nextn_predict_layers = 0;
  model::add_gguf_config(config, split_kv_b, metadata);
  const auto tensors = model::gguf_tensors(*loaded, split_kv_b);
  std::vector<NamedTensor> named;
  for (const model::GgufTensor& t : tensors) {
    Tensor wide = Tensor::empty(DType::kF32, t.shape);
    t.decode(0, t.rows(), wide.as_mutable<float>().data());
    const bool fits = t.role == TensorRole::kLinear && t.cols() % dtype_block(linear).elements == 0;
    if (!fits || linear == DType::kF32) {
      named.push_back({t.name, wide});
      continue;
    }
    Tensor narrow = Tensor::empty(linear, t.shape);
    formats::block_format(linear).encode(wide.as<float>().data(), wide.numel(), nullptr,
                                         narrow.mutable_raw());
    named.push_back({t.name, narrow});
  }
  write_gguf(path, std::move(metadata), named);
}

Tensor logits_of(const std::filesystem::path& path, const LoadOptions& options = {}) {
  const auto causal = DeepseekV3ForCausalLM::from_pretrained(path, options);
  ForwardArgs args;
  std::vector<int64_t> ids(40);
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int64_t>(i * 7 + 3) % causal.config().vocab_size;
  args.input_ids = Tensor::from(std::span<const int64_t>(ids), {1, 40});
  return causal.forward(args).logits;
}

void expect_near(const Tensor& found, const Tensor& expected, float bound) {
  ASSERT_EQ(found.shape(), expected.shape());
  const auto a = found.as<float>(), b = expected.as<float>();
  float worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::fabs(a[i] - b[i]));
  EXPECT_LE(worst, bound);
}

class GgufModelTest : public testing::TestWithParam<const char*> {};

TEST_P(GgufModelTest, KeysAndTensorsSayTheSameAsTheFolder) {
  const auto folder = golden_model(GetParam());
  const Tensor expected = logits_of(folder);
  const DeepseekV3Config config = DeepseekV3Config::from_file(folder);
  for (const bool split_kv_b : {false, true}) {
    const TemporaryFolder temp;
    const auto path = temp.path() / "model.gguf";
    write_as_gguf(folder, path, split_kv_b);
    DeepseekV3Config read = DeepseekV3Config::from_file(path);
    EXPECT_EQ(read.rope_parameters, config.rope_parameters);
    EXPECT_EQ(read.q_lora_rank, config.q_lora_rank);
    EXPECT_EQ(read.n_group, config.n_group);
    EXPECT_EQ(read.routed_scaling_factor, config.routed_scaling_factor);
    EXPECT_EQ(read.rms_norm_eps, config.rms_norm_eps);
    EXPECT_EQ(read.tie_word_embeddings, config.tie_word_embeddings);
    // Whole, the arithmetic is the same to the bit; halves take other sums.
    expect_near(logits_of(path), expected, split_kv_b ? 2e-5f : 0.0f);
    // Converted when loading, the halves are joined again.
    LoadOptions wide;
    wide.dtype = WeightDType::kFloat32;
    expect_near(logits_of(path, wide), logits_of(folder, wide), 0.0f);
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, GgufModelTest,
                         testing::Values("causal_basic", "yarn_v5", "no_q_lora", "all_moe",
                                         "n_group_1", "tied_embeddings", "packed_experts"));

// A file of keys alone, some of them changed by `edit`.
struct KeysOnly {
  TemporaryFolder folder;
  std::filesystem::path path = folder.path() / "keys.gguf";
  explicit KeysOnly(const DeepseekV3Config& config, void (*edit)(GgufMetadata&)) {
    GgufMetadata metadata;
    model::add_gguf_config(config, true, metadata);
    edit(metadata);
    write_gguf(path, std::move(metadata), {});
  }
  std::string error() const {
    try {
      DeepseekV3Config::from_file(path);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
};

TEST(GgufKeysTest, WhatIsNotThisModelIsNamed) {
  const auto error_of = [](void (*edit)(GgufMetadata&)) {
    return KeysOnly(tiny_config(), edit).error();
  };
  EXPECT_EQ(error_of([](GgufMetadata&) {}), "no error");
  std::string error =
      error_of([](GgufMetadata& m) { m.set("general.architecture", std::string("llama")); });
  EXPECT_NE(error.find("the architecture is 'llama', expected 'deepseek2'"), std::string::npos)
      << error;
  error = error_of([](GgufMetadata& m) { m.erase("deepseek2.attention.kv_lora_rank"); });
  EXPECT_NE(error.find("deepseek2.attention.kv_lora_rank"), std::string::npos) << error;
  error = error_of([](GgufMetadata& m) { m.set("deepseek2.block_count", std::string("two")); });
  EXPECT_NE(error.find("deepseek2.block_count"), std::string::npos) << error;
  error = error_of([](GgufMetadata& m) { m.set("deepseek2.expert_gating_func", uint32_t{1}); });
  EXPECT_NE(error.find("the router of DeepSeek-V2 is not supported"), std::string::npos) << error;
  error = error_of([](GgufMetadata& m) { m.erase("deepseek2.expert_gating_func"); });
  EXPECT_NE(error.find("absent, which means 1"), std::string::npos) << error;
  error = error_of(
      [](GgufMetadata& m) { m.set("deepseek2.rope.scaling.type", std::string("longrope")); });
  EXPECT_NE(error.find("'longrope', expected none, linear or yarn"), std::string::npos) << error;
  error = error_of([](GgufMetadata& m) { m.set("deepseek2.rope.dimension_count", uint32_t{64}); });
  EXPECT_NE(error.find("expected more than 64"), std::string::npos) << error;
}

// llama.cpp routes such files without groups, whatever the model: files of before it knew them.
TEST(GgufKeysTest, FilesWithoutGroupsAreRoutedAsTheirModelWasTrained) {
  const auto without_groups = [](GgufMetadata& m) {
    m.erase("deepseek2.expert_group_count");
    m.erase("deepseek2.expert_group_used_count");
  };
  const DeepseekV3Config v3 =
      DeepseekV3Config::from_file(KeysOnly(DeepseekV3Config(), without_groups).path);
  EXPECT_EQ(v3.n_group, 8);
  EXPECT_EQ(v3.topk_group, 4);
  const DeepseekV3Config other =
      DeepseekV3Config::from_file(KeysOnly(tiny_config(), without_groups).path);
  EXPECT_EQ(other.n_group, 1);
  EXPECT_EQ(other.topk_group, 1);
}

TEST(GgufKeysTest, WhatKeysCannotSayIsRefused) {
  DeepseekV3Config config = tiny_config();
  GgufMetadata metadata;
  config.rope_interleave = false;
  EXPECT_THROW(model::add_gguf_config(config, true, metadata), Error);
  config = tiny_config();
  config.rope_parameters = {.rope_type = "dynamic", .factor = 2};
  EXPECT_THROW(model::add_gguf_config(config, true, metadata), Error);
  config.rope_parameters = {.rope_type = "yarn", .factor = 4, .mscale = 1, .mscale_all_dim = 0.5};
  EXPECT_THROW(model::add_gguf_config(config, true, metadata), Error);
  config.rope_parameters.mscale = 0.5;
  EXPECT_NO_THROW(model::add_gguf_config(config, true, metadata));
}

TEST(GgufBlockFormatTest, EveryBlockFormatServesProjectionsAndExperts) {
  DeepseekV3Config config = tiny_config();
  config.hidden_size = 256;
  config.intermediate_size = config.moe_intermediate_size = 256;
  config.q_lora_rank = 256;
  config.kv_lora_rank = 256;
  config.v_head_dim = 128;
  config.qk_nope_head_dim = 32;
  // All experts are chosen: a choice that tips over would hide how large an error is.
  config.n_group = config.topk_group = 1;
  config.num_experts_per_tok = config.n_routed_experts;
  const TemporaryFolder temp;
  TestCheckpoint(config).write(temp.path());
  const Tensor original = logits_of(temp.path());
  const auto path = temp.path() / "model.gguf";
  for (int i = static_cast<int>(DType::kQ4_0); i < kDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    for (const bool split_kv_b : {false, true}) {
      SCOPED_TRACE(std::string(dtype_name(dtype)) + (split_kv_b ? " split" : " whole"));
      write_as_gguf(temp.path(), path, split_kv_b, false, dtype);
      // Decoded while computing, or all at once when loading: the same numbers.
      LoadOptions wide;
      wide.dtype = WeightDType::kFloat32;
      const Tensor found = logits_of(path);
      expect_near(found, logits_of(path, wide), 1e-4f);
      double error = 0;
      for (size_t k = 0; k < found.as<float>().size(); ++k) {
        error += std::fabs(found.as<float>()[k] - original.as<float>()[k]);
      }
      EXPECT_GT(error, 0);
    }
  }
}

}  // namespace
}  // namespace dsv3
