#include "quantization/quantize.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"
#include "formats/block_format.h"
#include "model/test_models.h"
#include "quantization/imatrix.h"

namespace dsv3::quantization {
namespace {

namespace fs = std::filesystem;

// Rows of 256 and of 32, so that some tensors fall back to smaller blocks.
DeepseekV3Config small_config() {
  DeepseekV3Config c = tiny_config();
  c.hidden_size = 256;
  c.intermediate_size = 512;
  c.moe_intermediate_size = 32;
  c.q_lora_rank = 64;
  c.kv_lora_rank = 64;
  c.qk_nope_head_dim = 32;
  c.v_head_dim = 32;
  c.num_nextn_predict_layers = 1;
  // All experts are chosen: a choice that tips over would hide how large an error is.
  c.n_group = c.topk_group = 1;
  c.num_experts_per_tok = c.n_routed_experts;
  return c;
}

struct QuantizeTest : testing::Test {
  TemporaryFolder folder;
  fs::path source = folder.path() / "source";
  fs::path target = folder.path() / "model.gguf";
  QuantizeOptions options;

  QuantizeTest() { options.with_tokenizer = false; }

  void make_source(DType dtype, bool mtp = true) {
    TestCheckpoint checkpoint(small_config(), model::Head::kCausalLm, mtp);
    if (dtype != DType::kF32) checkpoint.convert_matrices(dtype);
    checkpoint.write(source);
  }
  QuantizeReport run(const std::string& mixture) {
    options.mixture = mixture;
    return quantize(source, target, options);
  }
  static Tensor logits(const fs::path& path) {
    const auto model = DeepseekV3ForCausalLM::from_pretrained(path);
    ForwardArgs args;
    args.input_ids = Tensor::from({3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8}, {1, 12});
    return model.forward(args).logits;
  }
  static double relative_error(const Tensor& found, const Tensor& expected) {
    double error = 0, norm = 0;
    for (size_t i = 0; i < expected.as<float>().size(); ++i) {
      const double e = expected.as<float>()[i], d = found.as<float>()[i] - e;
      error += d * d;
      norm += e * e;
    }
    return std::sqrt(error / norm);
  }
  // The message of the error that quantising gives.
  std::string error_of(const std::string& mixture) {
    try {
      run(mixture);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
  static DType type_of(const QuantizeReport& report, const std::string& name) {
    for (const QuantizedTensor& t : report.tensors) {
      if (t.name == name) return t.type;
    }
    return DType::kBool;
  }
};

TEST_F(QuantizeTest, SixteenBitsAndMoreGiveTheSameModel) {
  make_source(DType::kBF16);
  const Tensor expected = logits(source);
  for (const char* mixture : {"F32", "BF16"}) {
    options.split_kv_b = false;
    run(mixture);
    EXPECT_EQ(relative_error(logits(target), expected), 0) << mixture;
    options.split_kv_b.reset();
    run(mixture);
    EXPECT_LT(relative_error(logits(target), expected), 1e-5) << mixture;
  }
}

TEST_F(QuantizeTest, FewerBitsGiveLargerErrors) {
  make_source(DType::kF32);
  const Tensor expected = logits(source);
  std::vector<double> errors;
  for (const char* mixture : {"Q8_0", "Q6_K", "Q4_K_M", "Q2_K"}) {
    const QuantizeReport report = run(mixture);
    errors.push_back(relative_error(logits(target), expected));
    EXPECT_EQ(report.files, std::vector<fs::path>{target});
  }
  EXPECT_TRUE(std::ranges::is_sorted(errors));
  // Three and a half bits less are a step that is eleven times as wide.
  EXPECT_LT(errors[0], errors[2] / 5);
}

TEST_F(QuantizeTest, Fp8BlocksAreDecoded) {
  source = golden_model("fp8");
  options.split_kv_b = false;
  run("F32");
  // Sums over FP8 go in segments of a block.
  EXPECT_LT(relative_error(logits(target), logits(source)), 1e-6);
}

TEST_F(QuantizeTest, RouterNormsAndBiasesStayFloat32) {
  make_source(DType::kBF16);
  options.overrides = {{".*", DType::kQ8_0}};
  const QuantizeReport report = run("Q4_K_M");
  EXPECT_EQ(type_of(report, "blk.1.ffn_gate_inp.weight"), DType::kF32);
  EXPECT_EQ(type_of(report, "blk.1.exp_probs_b.bias"), DType::kF32);
  EXPECT_EQ(type_of(report, "blk.0.attn_norm.weight"), DType::kF32);
  EXPECT_EQ(type_of(report, "blk.1.ffn_up_exps.weight"), DType::kQ8_0);
}

TEST_F(QuantizeTest, OverridesGoBeforeTheMixture) {
  make_source(DType::kF32);
  options.overrides = {{"ffn_(gate|up)_exps", DType::kQ5_1}, {"blk\\.0\\.", DType::kF16}};
  options.output_type = DType::kQ8_0;
  options.embedding_type = DType::kBF16;
  options.dry_run = true;
  const QuantizeReport report = run("Q4_K_M");
  EXPECT_EQ(type_of(report, "blk.1.ffn_up_exps.weight"), DType::kQ5_1);
  EXPECT_EQ(type_of(report, "blk.0.ffn_up.weight"), DType::kF16);
  EXPECT_EQ(type_of(report, "blk.1.attn_q_a.weight"), DType::kQ4_K);
  EXPECT_EQ(type_of(report, "blk.1.attn_q_b.weight"), DType::kQ5_0);  // rows of 64
  EXPECT_EQ(type_of(report, "output.weight"), DType::kQ8_0);
  EXPECT_EQ(type_of(report, "token_embd.weight"), DType::kBF16);
  EXPECT_FALSE(fs::exists(target));
}

TEST_F(QuantizeTest, TensorsOfTheSameTypeAreCopied) {
  make_source(DType::kF32);
  run("Q4_K_M");
  const std::string first = read_file(target);
  source = target;
  target = folder.path() / "again.gguf";
  run("Q4_K_M");
  const Checkpoint a = Checkpoint::open(source), b = Checkpoint::open(target);
  ASSERT_EQ(a.names(), b.names());
  for (const std::string& name : a.names()) {
    ASSERT_EQ(std::memcmp(a.tensor(name).raw(), b.tensor(name).raw(), a.tensor(name).bytes()), 0)
        << name;
  }
  EXPECT_NE(error_of("Q8_0").find("is Q4_K already"), std::string::npos) << error_of("Q8_0");
  options.allow_requantize = true;
  EXPECT_EQ(error_of("Q8_0"), "no error");
}

TEST_F(QuantizeTest, HalvesAndWholeOfTheLatentProjectionBecomeEachOther) {
  make_source(DType::kF32);
  const Tensor expected = logits(source);
  options.split_kv_b = true;
  run("F32");
  EXPECT_TRUE(Checkpoint::open(target).contains("blk.0.attn_k_b.weight"));
  source = target;
  target = folder.path() / "whole.gguf";
  options.split_kv_b = false;
  run("F32");
  EXPECT_TRUE(Checkpoint::open(target).contains("blk.0.attn_kv_b.weight"));
  EXPECT_EQ(relative_error(logits(target), expected), 0);
  source = target;
  target = folder.path() / "as_it_was.gguf";
  options.split_kv_b.reset();
  run("F32");
  EXPECT_TRUE(Checkpoint::open(target).contains("blk.0.attn_kv_b.weight"));
}

TEST_F(QuantizeTest, PredictionModulesComeAlongOrAreLeftOut) {
  make_source(DType::kF32);
  run("Q8_0");
  EXPECT_EQ(DeepseekV3Config::from_file(target).num_nextn_predict_layers, 1);
  LoadOptions with_mtp;
  with_mtp.load_mtp = true;
  EXPECT_NO_THROW(DeepseekV3ForCausalLM::from_pretrained(target, with_mtp));
  options.mtp = false;
  run("Q8_0");
  EXPECT_EQ(DeepseekV3Config::from_file(target).num_nextn_predict_layers, 0);
  EXPECT_FALSE(Checkpoint::open(target).contains("blk.2.nextn.eh_proj.weight"));
}

TEST_F(QuantizeTest, SeveralFilesOpenAsOne) {
  make_source(DType::kF32);
  const Tensor expected = logits(source);
  options.max_shard_bytes = 400'000;
  options.split_kv_b = false;
  const QuantizeReport report = run("F32");
  EXPECT_GT(report.files.size(), 2u);
  EXPECT_EQ(relative_error(logits(report.files[1]), expected), 0);
}

TEST_F(QuantizeTest, WhatCannotBeWrittenIsNamedAndLeavesNoFile) {
  TestCheckpoint checkpoint(small_config());
  checkpoint.tensors["model.layers.1.mlp.experts.3.up_proj.weight"].as_mutable<float>()[517] = NAN;
  checkpoint.write(source);
  const std::string bad = error_of("Q8_0");
  // Expert 3 of 32 rows, element 517 of it: row 98, column 5.
  EXPECT_NE(bad.find("'blk.1.ffn_up_exps.weight': row 98, column 5 is nan"), std::string::npos)
      << bad;

  checkpoint.tensors["model.layers.0.mlp.up_proj.weight"].as_mutable<float>()[5] = 1e5f;
  checkpoint.write(source);
  const std::string large = error_of("F16");
  EXPECT_NE(large.find("more than F16 can hold"), std::string::npos) << large;
  EXPECT_FALSE(fs::exists(target));
  for (const auto& entry : fs::directory_iterator(folder.path())) EXPECT_EQ(entry.path(), source);

  options.overrides = {{"attn_q_b", DType::kQ4_K}};
  EXPECT_NE(error_of("Q8_0").find("multiple of 256 elements, found 64"), std::string::npos);
  options.overrides = {{"(", DType::kQ4_K}};
  EXPECT_NE(error_of("Q8_0").find("no regular expression"), std::string::npos);
  options.overrides.clear();
  EXPECT_NE(error_of("Q7_X").find("expected one of"), std::string::npos);
}

TEST_F(QuantizeTest, ImportanceMovesErrorsToChannelsThatMatterLess) {
  make_source(DType::kF32);
  const std::string name = "blk.1.ffn_down_exps.weight";
  // Expert 2 hears nothing but channel 7.
  ImportanceMatrix imatrix;
  InputSquares& squares = imatrix.tensors[name];
  for (int i = 0; i < 6 * 32; ++i) squares.sums.push_back(1 + i % 3);
  squares.sums[2 * 32 + 7] = 1e9;
  squares.counts.assign(6, 1000);
  imatrix.write(folder.path() / "imatrix.gguf");

  const auto error_of_channel = [&](int64_t expert, int64_t channel) {
    const Checkpoint before = Checkpoint::open(source), after = Checkpoint::open(target);
    const Tensor w =
        before.tensor(fmt::format("model.layers.1.mlp.experts.{}.down_proj.weight", expert));
    const Tensor q = after.tensor(name);
    std::vector<float> decoded(q.numel());
    formats::block_format(q.dtype()).decode(q.raw(), q.numel(), decoded.data());
    double error = 0;
    for (int64_t r = 0; r < 256; ++r) {
      const double d = decoded[(expert * 256 + r) * 32 + channel] - w.as<float>()[r * 32 + channel];
      error += d * d;
    }
    return error;
  };
  options.overrides = {{"ffn_down_exps", DType::kIQ4_NL}};
  run("Q4_0");
  const double without = error_of_channel(2, 7), neighbour = error_of_channel(3, 7);
  options.imatrix = folder.path() / "imatrix.gguf";
  run("Q4_0");
  EXPECT_LT(error_of_channel(2, 7), without / 4);
  EXPECT_GT(error_of_channel(3, 7), neighbour / 4);

  imatrix.tensors.clear();
  imatrix.tensors["blk.77.attn_q.weight"] = {{1, 1}, {1}};
  imatrix.write(folder.path() / "imatrix.gguf");
  EXPECT_NE(error_of("Q4_0").find("has no tensor of this model"), std::string::npos);
}

TEST_F(QuantizeTest, ASourceIsNotOverwritten) {
  make_source(DType::kF32);
  run("Q8_0");
  source = target;
  EXPECT_NE(error_of("Q8_0").find("is a file of the source itself"), std::string::npos);
  EXPECT_NO_THROW(logits(source));
}

}  // namespace
}  // namespace dsv3::quantization
