#include "quantization/imatrix_collector.h"

#include <cmath>
#include <limits>

#include "model/test_models.h"

namespace dsv3::quantization {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int64_t>;

const fs::path kTestdata = fs::path(DSV3_SOURCE_DIR) / "src/quantization/testdata";

void run(ImportanceCollector& collector, const std::vector<Ids>& sequences) {
  const std::vector<std::span<const int64_t>> spans(sequences.begin(), sequences.end());
  collector.run(spans);
}

ImportanceMatrix collect(const DeepseekV3ForCausalLM& model, const std::vector<Ids>& sequences,
                         CollectOptions options = {}) {
  ImportanceCollector collector(model.loaded(), options);
  run(collector, sequences);
  return collector.matrix();
}

/// Sums of matrix `matrix` of a tensor.
std::vector<double> sums_of(const ImportanceMatrix& m, const std::string& name, int64_t in,
                            int64_t matrix = 0) {
  const std::vector<double>& all = m.tensors.at(name).sums;
  return {all.begin() + matrix * in, all.begin() + (matrix + 1) * in};
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b, double relative) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], relative * b[i] + 1e-12) << i;
}

void expect_equal(const ImportanceMatrix& a, const ImportanceMatrix& b) {
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, t] : a.tensors) {
    EXPECT_EQ(t.counts, b.tensors.at(name).counts) << name;
    EXPECT_EQ(t.sums, b.tensors.at(name).sums) << name;
  }
}

/// Token ids of the text in make_imatrix.py, BOS in front, as chunks.
std::vector<Ids> llamas_chunks() {
  const std::string text =
      "the little owl sat in the old tree and sang to the moon all night long while the dog slept";
  Ids ids = {0};
  for (const char c : text) ids.push_back(c == ' ' ? 2 : 3 + (c - 'a'));
  return cut_into_chunks(ids, 16, 0);
}

// Both compute in float32 from float32 weights and differ in the order of sums; a mean square of
// that is a few units in the last place off, or some tens behind a softmax.
constexpr double kOrderOfSums = 3e-5;

TEST(ImportanceCollectorTest, AgreesWithLlamaImatrix) {
  const auto model = DeepseekV3ForCausalLM::from_pretrained(kTestdata / "tiny.gguf");
  const ImportanceMatrix ours = collect(model, llamas_chunks(), {.output = true});
  const ImportanceMatrix theirs = ImportanceMatrix::read(kTestdata / "tiny_imatrix.gguf");
  for (const auto& [name, t] : theirs.tensors) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(ours.tensors.contains(name));
    EXPECT_EQ(ours.tensors.at(name).counts, t.counts);
    expect_near(ours.tensors.at(name).sums, t.sums, kOrderOfSums);
  }
  // What llama.cpp does not have is kv_b_proj as a whole.
  EXPECT_EQ(ours.tensors.size(), theirs.tensors.size() + 2);
}

double silu(double x) { return x / (1 + std::exp(-x)); }

TEST(ImportanceCollectorTest, AnExpertsSumsAreThoseOfTheTokensRoutedToIt) {
  const TestCheckpoint checkpoint(tiny_config());
  const auto model = load(checkpoint);
  const DeepseekV3Config& c = model.config();
  const Ids ids = random_ids(20, c.vocab_size);

  // The router's input and decision, as the forward pass shows them.
  std::vector<std::vector<float>> x;
  ops::Routing routing;
  model::ForwardObserver observer;
  observer.routing = [&](int64_t, const ops::Routing& r) { routing = r; };
  observer.linear_input = [&](const ops::LinearWeight& w, Matrix input, std::span<const int32_t>) {
    if (&w != &model.loaded().weights.layers[1].moe.gate) return;
    for (int64_t t = 0; t < input.rows; ++t) {
      x.emplace_back(input.row(t), input.row(t) + input.cols);
    }
  };
  model::LatentCache cache(2, model::latent_layout(c, DType::kF32));
  const model::BatchSequence sequence{&cache, 20};
  Ids positions(20);
  for (int64_t i = 0; i < 20; ++i) positions[i] = i;
  std::vector<float> memory(2 * 20 * c.hidden_size);
  const Matrix embeddings(memory.data(), 20, c.hidden_size);
  const Matrix hidden(embeddings.row(20), 20, c.hidden_size);
  model::embed_tokens(model.loaded().weights, ids, embeddings);
  model::ComputeOptions options = model.loaded().options;
  options.mla_form = ops::MlaForm::kAbsorbed;  // as the collector has it
  model::forward(c, model.loaded().weights, options,
                 {std::span(&sequence, 1), positions, embeddings}, hidden, observer);

  const ImportanceMatrix m = collect(model, {ids});
  for (int64_t e = 0; e < c.n_routed_experts; ++e) {
    SCOPED_TRACE(e);
    const auto weight = [&](const char* projection) {
      return checkpoint.tensors
          .at(fmt::format("model.layers.1.mlp.experts.{}.{}.weight", e, projection))
          .as<float>();
    };
    const auto gate = weight("gate_proj"), up = weight("up_proj");
    int64_t count = 0;
    std::vector<double> in(c.hidden_size, 0.0), middle(c.moe_intermediate_size, 0.0);
    for (size_t p = 0; p < routing.experts.size(); ++p) {
      if (routing.experts[p] != e) continue;
      const std::vector<float>& row = x[p / c.num_experts_per_tok];
      ++count;
      for (int64_t i = 0; i < c.hidden_size; ++i) in[i] += double{row[i]} * row[i];
      for (int64_t j = 0; j < c.moe_intermediate_size; ++j) {
        double g = 0, u = 0;
        for (int64_t i = 0; i < c.hidden_size; ++i) {
          g += double{gate[j * c.hidden_size + i]} * row[i];
          u += double{up[j * c.hidden_size + i]} * row[i];
        }
        middle[j] += std::pow(silu(g) * u, 2);
      }
    }
    for (const char* name : {"blk.1.ffn_gate_exps.weight", "blk.1.ffn_up_exps.weight"}) {
      EXPECT_EQ(m.tensors.at(name).counts[e], count);
      EXPECT_EQ(sums_of(m, name, c.hidden_size, e), in);  // the same floats in the same order
    }
    EXPECT_EQ(m.tensors.at("blk.1.ffn_down_exps.weight").counts[e], count);
    expect_near(sums_of(m, "blk.1.ffn_down_exps.weight", c.moe_intermediate_size, e), middle,
                kOrderOfSums);
  }
}

TEST(ImportanceCollectorTest, TheFirstLayersInputIsTheNormalisedEmbedding) {
  TestCheckpoint checkpoint(tiny_config());
  checkpoint.config.q_lora_rank.reset();
  checkpoint = TestCheckpoint(checkpoint.config);
  const auto model = load(checkpoint);
  const DeepseekV3Config& c = model.config();
  const Ids ids = random_ids(9, c.vocab_size);
  std::vector<double> sums(c.hidden_size, 0.0);
  const auto table = checkpoint.tensors.at("model.embed_tokens.weight").as<float>();
  const auto norm = checkpoint.tensors.at("model.layers.0.input_layernorm.weight").as<float>();
  for (const int64_t id : ids) {
    double mean = 0;
    const auto row = table.subspan(id * c.hidden_size, c.hidden_size);
    for (const float x : row) mean += double{x} * x / static_cast<double>(c.hidden_size);
    for (int64_t i = 0; i < c.hidden_size; ++i) {
      sums[i] += std::pow(double{row[i]} * norm[i], 2) / (mean + c.rms_norm_eps);
    }
  }
  const ImportanceMatrix m = collect(model, {ids});
  for (const char* name : {"blk.0.attn_q.weight", "blk.0.attn_kv_a_mqa.weight"}) {
    expect_near(sums_of(m, name, c.hidden_size), sums, kOrderOfSums);
    EXPECT_EQ(m.tensors.at(name).counts, (Ids{9}));
  }
}

TEST(ImportanceCollectorTest, ATokenAloneIsWeightedAsItIsByEveryHead) {
  const auto model = load(TestCheckpoint(tiny_config()));
  const DeepseekV3Config& c = model.config();
  const ImportanceMatrix m = collect(model, {{1}, {2}, {3}});
  const auto latents = sums_of(m, "blk.1.attn_kv_b.weight", c.kv_lora_rank);
  EXPECT_GT(latents[0], 0);
  for (int64_t h = 0; h < c.num_attention_heads; ++h) {
    expect_near(sums_of(m, "blk.1.attn_v_b.weight", c.kv_lora_rank, h), latents, 1e-6);
  }
}

TEST(ImportanceCollectorTest, NeitherThreadsNorBatchesNorTheFormOfAttentionChangeTheSums) {
  LoadOptions options;
  options.attention = AttentionForm::kExpanded;
  const TestCheckpoint checkpoint(tiny_config());
  const auto model = load(checkpoint), expanded = load(checkpoint, options);
  const std::vector<Ids> sequences = {random_ids(17, 50, 1), random_ids(30, 50, 2),
                                      random_ids(5, 50, 3)};
  ImportanceMatrix expected;
  {
    const ThreadCount threads(1);
    expected = collect(model, sequences);
  }
  const ThreadCount threads(3);
  expect_equal(collect(model, sequences), expected);
  expect_equal(collect(expanded, sequences), expected);
  ImportanceCollector collector(model.loaded());
  for (const Ids& ids : sequences) run(collector, {ids});
  expect_equal(collector.matrix(), expected);
}

TEST(ImportanceCollectorTest, ACheckpointWithSplitHalvesGivesTheSameNames) {
  const auto gguf = DeepseekV3ForCausalLM::from_pretrained(kTestdata / "tiny.gguf");
  const TemporaryFolder folder;
  LoadOptions options;
  options.dtype = WeightDType::kFloat32;  // joins the halves
  DeepseekV3ForCausalLM::from_pretrained(kTestdata / "tiny.gguf", options)
      .save_pretrained(folder.path());
  const auto whole = DeepseekV3ForCausalLM::from_pretrained(folder.path());
  const ImportanceMatrix a = collect(gguf, llamas_chunks()), b = collect(whole, llamas_chunks());
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, t] : a.tensors) {
    SCOPED_TRACE(name);
    expect_near(t.sums, b.tensors.at(name).sums, kOrderOfSums);
  }
}

TEST(ImportanceCollectorTest, TheHeadIsMeasuredOnlyIfAskedForUnderTheNameOfItsTensor) {
  DeepseekV3Config config = tiny_config();
  const auto model = load(TestCheckpoint(config));
  EXPECT_FALSE(collect(model, {{1, 2}}).tensors.contains("output.weight"));
  EXPECT_EQ(collect(model, {{1, 2}}, {.output = true}).tensors.at("output.weight").counts,
            (Ids{2}));
  config.tie_word_embeddings = true;
  const auto tied = load(TestCheckpoint(config));
  EXPECT_FALSE(collect(tied, {{1, 2}}).tensors.contains("token_embd.weight"));
  EXPECT_EQ(collect(tied, {{1, 2}}, {.output = true}).tensors.at("token_embd.weight").counts,
            (Ids{2}));
}

TEST(ImportanceCollectorTest, MtpModulesSeeEachTokenWithTheNext) {
  DeepseekV3Config config = tiny_config();
  config.num_nextn_predict_layers = 2;
  const TestCheckpoint checkpoint(config, model::Head::kCausalLm, true);
  LoadOptions options;
  options.load_mtp = true;
  const auto model = load(checkpoint, options);
  const ImportanceMatrix m = collect(model, {{5, 6, 7, 8}, {9}, {10, 11}}, {.output = true});
  EXPECT_EQ(m.tensors.at("blk.2.nextn.eh_proj.weight").counts, (Ids{3 + 1}));
  EXPECT_EQ(m.tensors.at("blk.3.nextn.eh_proj.weight").counts, (Ids{2}));
  EXPECT_EQ(m.tensors.at("blk.3.attn_output.weight").counts, (Ids{2}));
  EXPECT_EQ(m.tensors.at("blk.2.nextn.shared_head_head.weight").counts, (Ids{4}));

  // The first half of the second module's input: the embeddings of 7 and 8, normalised.
  std::vector<double> sums(config.hidden_size, 0.0);
  const auto table = checkpoint.tensors.at("model.layers.3.embed_tokens.weight").as<float>();
  const auto norm = checkpoint.tensors.at("model.layers.3.enorm.weight").as<float>();
  for (const int64_t id : {7, 8}) {
    double mean = 0;
    const auto row = table.subspan(id * config.hidden_size, config.hidden_size);
    for (const float x : row) mean += double{x} * x / static_cast<double>(config.hidden_size);
    for (int64_t i = 0; i < config.hidden_size; ++i) {
      sums[i] += std::pow(double{row[i]} * norm[i], 2) / (mean + config.rms_norm_eps);
    }
  }
  expect_near(sums_of(m, "blk.3.nextn.eh_proj.weight", config.hidden_size), sums, kOrderOfSums);
}

TEST(ImportanceCollectorTest, NumbersThatAreNotFiniteAndIdsOutsideOfTheVocabularyAreErrors) {
  TestCheckpoint checkpoint(tiny_config());
  const auto model = load(checkpoint);
  expect_error([&] { collect(model, {{1, 50}}); }, {"token id 50", "0 to 49"});
  expect_error([&] { collect(model, {{-1}}); }, {"token id -1"});
  checkpoint.tensors.at("model.layers.0.self_attn.q_a_proj.weight").as_mutable<float>()[3] =
      std::numeric_limits<float>::quiet_NaN();
  expect_error([&] { collect(load(checkpoint), {{1}}); },
               {"'blk.0.attn_q_b.weight'", "not finite"});
}

TEST(CutIntoChunksTest, PiecesAreWholeAndBeginWithBos) {
  const Ids ids = {0, 1, 2, 3, 4, 5, 6};
  EXPECT_EQ(cut_into_chunks(ids, 3, 9), (std::vector<Ids>{{9, 1, 2}, {9, 4, 5}}));
  EXPECT_EQ(cut_into_chunks(ids, 3, std::nullopt), (std::vector<Ids>{{0, 1, 2}, {3, 4, 5}}));
  EXPECT_EQ(cut_into_chunks(ids, 10, std::nullopt), (std::vector<Ids>{ids}));  // all there is
  EXPECT_TRUE(cut_into_chunks({}, 10, 9).empty());
}

}  // namespace
}  // namespace dsv3::quantization
