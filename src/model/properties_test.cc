// What must not change a sequence's results: how it is cut, batched, cached and threaded.
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <deque>

#include "model/deepseek_v3.h"
#include "model/pretrained.h"
#include "model/test_models.h"

namespace dsv3 {
namespace {

struct Case {
  std::string name;
  std::string model;  // of the goldens
  LoadOptions options;
  double tolerance = 0;  // 0: bit for bit
};

const LoadOptions kDeterministic = {.deterministic = true};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  const auto add = [&](const std::string& name, const std::string& model,
                       const LoadOptions& options, double tolerance = 0) {
    cases.push_back({name, model, options, tolerance});
  };
  for (const char* model : {"causal_basic", "bf16_sharded", "fp8", "yarn_v5", "no_q_lora",
                            "attention_bias", "rope_not_interleaved", "n_group_1", "all_dense"}) {
    add(model, model, kDeterministic);
  }
  add("expanded", "bf16_sharded", {.attention = AttentionForm::kExpanded, .deterministic = true});
  add("float32", "bf16_sharded", {.dtype = WeightDType::kFloat32});
  add("bfloat16", "causal_basic", {.dtype = WeightDType::kBFloat16, .deterministic = true});
  add("fp8_to_float32", "fp8", {.dtype = WeightDType::kFloat32});
  add("fp8_dynamic", "fp8_dynamic", {.fp8_activations = Fp8Mode::kDynamic, .deterministic = true});
  add("automatic", "causal_basic", {}, 1e-4);
  add("automatic_fp8", "fp8", {}, 1e-4);
  return cases;
}

class PropertiesTest : public testing::TestWithParam<Case> {
 protected:
  const DeepseekV3ForCausalLM model_ =
      DeepseekV3ForCausalLM::from_pretrained(golden_model(GetParam().model), GetParam().options);
  const int64_t vocab_ = model_.config().vocab_size;

  void expect_equal(std::span<const float> found, std::span<const float> expected,
                    const std::string& what) {
    ASSERT_EQ(found.size(), expected.size()) << what;
    if (GetParam().tolerance > 0) {
      EXPECT_LE(difference(found, expected), GetParam().tolerance) << what;
    } else {
      EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size_bytes()), 0)
          << what << ": largest difference " << difference(found, expected);
    }
  }
  std::vector<float> logits_in_chunks(const std::vector<int64_t>& ids,
                                      const std::vector<int64_t>& sizes,
                                      std::shared_ptr<Cache> cache = nullptr) {
    std::vector<float> all;
    size_t at = 0;
    for (size_t i = 0; at < ids.size(); ++i) {
      const auto n = std::min<size_t>(ids.size() - at, sizes[i % sizes.size()]);
      const auto out =
          model_.forward({.input_ids = id_row(std::vector<int64_t>(&ids[at], &ids[at] + n)),
                          .past_key_values = cache,
                          .use_cache = true});
      cache = out.past_key_values;
      const auto logits = out.logits.as<float>();
      all.insert(all.end(), logits.begin(), logits.end());
      at += n;
    }
    EXPECT_EQ(cache->get_seq_length(), static_cast<int64_t>(ids.size()));
    return all;
  }
  std::vector<float> logits_of(const std::vector<int64_t>& ids) {
    return logits_in_chunks(ids, {static_cast<int64_t>(ids.size())});
  }
};

TEST_P(PropertiesTest, ChunksOfAnySizeEqualOnePass) {
  const auto ids = random_ids(139, vocab_);
  const std::vector<float> whole = logits_of(ids);
  for (const std::vector<int64_t>& sizes :
       std::vector<std::vector<int64_t>>{{1}, {64}, {65, 1, 2}, {128, 11}, {7, 30}}) {
    expect_equal(logits_in_chunks(ids, sizes), whole,
                 fmt::format("chunks of {}", fmt::join(sizes, ", ")));
  }
}

TEST_P(PropertiesTest, WithoutACacheIsTheSame) {
  const auto ids = random_ids(70, vocab_);
  const auto out = model_.forward({.input_ids = id_row(ids), .use_cache = false});
  EXPECT_EQ(out.past_key_values, nullptr);
  expect_equal(out.logits.as<float>(), logits_of(ids), "use_cache false");
}

TEST_P(PropertiesTest, StaticCacheEqualsDynamicCache) {
  const auto ids = random_ids(100, vocab_);
  const std::vector<float> expected = logits_in_chunks(ids, {90, 1});
  expect_equal(logits_in_chunks(ids, {90, 1}, Cache::fixed(model_.config(), 1, 100)), expected,
               "static");
}

TEST_P(PropertiesTest, LeftPaddedRowsEqualEachAlone) {
  const std::vector<int64_t> lengths = {3, 70, 31, 1};
  const int64_t columns = 70;
  std::vector<std::vector<int64_t>> prompts, ids, mask, positions;
  for (size_t b = 0; b < lengths.size(); ++b) {
    prompts.push_back(random_ids(lengths[b], vocab_, static_cast<uint32_t>(b)));
    const int64_t padding = columns - lengths[b];
    ids.emplace_back(padding, 7);
    ids[b].insert(ids[b].end(), prompts[b].begin(), prompts[b].end());
    mask.emplace_back(columns, 1);
    positions.emplace_back(columns, 0);
    for (int64_t c = 0; c < columns; ++c) {
      if (c < padding) mask[b][c] = 0;
      positions[b][c] = std::max<int64_t>(0, c - padding);
    }
  }
  const auto out = model_.forward({.input_ids = id_rows(ids),
                                   .attention_mask = id_rows(mask),
                                   .position_ids = id_rows(positions)});
  // And a step further, through the cache.
  std::vector<std::vector<int64_t>> next, next_positions;
  for (size_t b = 0; b < lengths.size(); ++b) {
    next.push_back({static_cast<int64_t>(b)});
    next_positions.push_back({lengths[b]});
    mask[b].push_back(1);
    prompts[b].push_back(static_cast<int64_t>(b));
  }
  const auto step = model_.forward({.input_ids = id_rows(next),
                                    .attention_mask = id_rows(mask),
                                    .position_ids = id_rows(next_positions),
                                    .past_key_values = out.past_key_values});
  for (size_t b = 0; b < lengths.size(); ++b) {
    const std::vector<float> alone = logits_of(prompts[b]);
    const int64_t padding = columns - lengths[b];
    const auto rows = out.logits.as<float>().subspan(b * columns * vocab_, columns * vocab_);
    for (const float x : rows.first(padding * vocab_)) ASSERT_EQ(x, 0.0f) << "padding";
    expect_equal(rows.subspan(padding * vocab_), std::span(alone).first(lengths[b] * vocab_),
                 fmt::format("row {}", b));
    expect_equal(column_of(step.logits, static_cast<int64_t>(b), 0),
                 std::span(alone).subspan(lengths[b] * vocab_),
                 fmt::format("row {}, next token", b));
  }
}

TEST_P(PropertiesTest, RaggedSequencesEqualEachAlone) {
  const DeepseekV3Config& config = model_.config();
  // Prompts, decoding steps and a prompt that goes on, in one batch.
  const std::vector<std::pair<int64_t, int64_t>> past_and_new = {
      {0, 40}, {90, 1}, {0, 1}, {20, 50}, {64, 64}};
  std::deque<model::LatentCache> caches;
  std::vector<std::vector<int64_t>> prompts;
  for (size_t i = 0; i < past_and_new.size(); ++i) {
    const auto [past, added] = past_and_new[i];
    prompts.push_back(random_ids(past + added, vocab_, static_cast<uint32_t>(i)));
    caches.emplace_back(config.num_hidden_layers, model::latent_layout(config, DType::kF32));
  }
  const auto run = [&](bool only_past) {
    std::vector<model::BatchSequence> sequences;
    std::vector<int64_t> ids, positions;
    for (size_t i = 0; i < prompts.size(); ++i) {
      const auto [past, added] = past_and_new[i];
      const int64_t begin = only_past ? 0 : past, end = only_past ? past : past + added;
      if (begin == end) continue;
      sequences.push_back({&caches[i], end - begin});
      for (int64_t t = begin; t < end; ++t) {
        ids.push_back(prompts[i][t]);
        positions.push_back(t);
      }
    }
    const auto n = static_cast<int64_t>(ids.size());
    std::vector<float> x(n * config.hidden_size), hidden(x.size()), logits(n * vocab_);
    const Matrix embeddings(x.data(), n, config.hidden_size),
        last(hidden.data(), n, config.hidden_size);
    const model::ModelWeights& weights = model_.loaded().weights;
    model::embed_tokens(weights, ids, embeddings);
    model::forward(config, weights, model_.loaded().options, {sequences, positions, embeddings},
                   last);
    model::lm_head(weights.lm_head, model_.loaded().options, last, Matrix(logits.data(), n, vocab_));
    return logits;
  };
  run(true);
  const std::vector<float> logits = run(false);
  int64_t row = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto [past, added] = past_and_new[i];
    const std::vector<float> alone = logits_of(prompts[i]);
    expect_equal(std::span(logits).subspan(row * vocab_, added * vocab_),
                 std::span(alone).subspan(past * vocab_), fmt::format("sequence {}", i));
    row += added;
  }
}

TEST_P(PropertiesTest, NumberOfThreadsChangesNothing) {
  const auto ids = random_ids(90, vocab_);
  std::vector<float> expected;
  for (const int threads : {1, 2, 3}) {
    const ThreadCount count(threads);
    const std::vector<float> found = logits_in_chunks(ids, {80, 1});
    if (threads == 1) expected = found;
    expect_equal(found, expected, fmt::format("{} threads", threads));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, PropertiesTest, testing::ValuesIn(all_cases()),
                         [](const auto& test) { return test.param.name; });

TEST(AttentionFormTest, AbsorbedEqualsExpanded) {
  for (const char* name : {"causal_basic", "yarn_v5", "fp8", "no_q_lora", "rope_not_interleaved"}) {
    const auto absorbed = DeepseekV3ForCausalLM::from_pretrained(
        golden_model(name), {.attention = AttentionForm::kAbsorbed});
    const auto expanded = DeepseekV3ForCausalLM::from_pretrained(
        golden_model(name), {.attention = AttentionForm::kExpanded});
    const ForwardArgs args{.input_ids = id_row(random_ids(100, absorbed.config().vocab_size)),
                           .output_attentions = true};
    const auto a = absorbed.forward(args), b = expanded.forward(args);
    EXPECT_LE(difference(a.logits.as<float>(), b.logits.as<float>()), 1e-4) << name;
    for (size_t l = 0; l < a.attentions.size(); ++l) {
      EXPECT_LE(difference(a.attentions[l].as<float>(), b.attentions[l].as<float>()), 1e-5)
          << name << " layer " << l;
    }
  }
}

TEST(StoriesPropertiesTest, ChunksAndNeighboursChangeNoBitOfADeterministicModel) {
  const auto model = DeepseekV3ForCausalLM::from_pretrained(
      std::filesystem::path(DSV3_SOURCE_DIR) / "models/stories", kDeterministic);
  const auto ids = random_ids(70, model.config().vocab_size);
  const auto whole = model.forward(
      {.input_ids = id_rows(std::vector{ids, random_ids(70, model.config().vocab_size, 2)})});
  std::shared_ptr<Cache> cache;
  for (int64_t t = 0; t < 70;) {
    const int64_t n = t == 0 ? 64 : 1;
    const auto out = model.forward(
        {.input_ids = id_row(std::vector<int64_t>(ids.begin() + t, ids.begin() + t + n)),
         .past_key_values = cache});
    cache = out.past_key_values;
    for (int64_t i = 0; i < n; ++i, ++t)
      ASSERT_EQ(column_of(out.logits, 0, i), column_of(whole.logits, 0, t)) << t;
  }
}

TEST(OutputsTest, HiddenStatesAndAttentionsHaveTheShapesOfTransformers) {
  const auto model = load(TestCheckpoint(tiny_config()));
  const DeepseekV3Config& c = model.config();
  ForwardArgs args{.input_ids = id_rows({random_ids(5, 50), random_ids(5, 50, 2)}),
                   .output_hidden_states = true,
                   .output_attentions = true};
  args.attention_mask = id_rows({{0, 0, 1, 1, 1}, {1, 1, 1, 1, 1}});
  const auto check = [&](const ModelOutput& out, int64_t columns, int64_t keys) {
    ASSERT_EQ(out.hidden_states.size(), static_cast<size_t>(c.num_hidden_layers + 1));
    for (const Tensor& t : out.hidden_states)
      EXPECT_EQ(t.shape(), (Shape{2, columns, c.hidden_size}));
    EXPECT_EQ(difference(out.hidden_states.back().as<float>(), out.last_hidden_state.as<float>()),
              0);
    ASSERT_EQ(out.attentions.size(), static_cast<size_t>(c.num_hidden_layers));
    for (const Tensor& t : out.attentions)
      EXPECT_EQ(t.shape(), (Shape{2, c.num_attention_heads, columns, keys}));
  };
  const auto out = model.forward(args);
  check(out, 5, 5);
  EXPECT_EQ(out.attentions[0].as<float>()[2 * 5 + 0],
            0.0f);  // row 0, head 0, query 2: padding gets no weight
  EXPECT_EQ(out.attentions[0].as<float>()[2 * 5 + 2], 1.0f);
  args.input_ids = id_rows({random_ids(2, 50), random_ids(2, 50, 2)});
  args.attention_mask = id_rows({{0, 0, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1}});
  args.past_key_values = out.past_key_values;
  check(model.forward(args), 2, 7);
}

TEST(OutputsTest, NothingButPaddingGivesZerosOfTheRightShapes) {
  const auto model = load(TestCheckpoint(tiny_config()));
  const auto out = model.forward({.input_ids = id_row({1, 2, 3}),
                                  .attention_mask = id_row({0, 0, 0}),
                                  .output_hidden_states = true,
                                  .output_attentions = true});
  EXPECT_EQ(out.hidden_states.size(), 3u);
  EXPECT_EQ(out.attentions.size(), 2u);
  for (const float x : out.logits.as<float>()) EXPECT_EQ(x, 0.0f);
  EXPECT_EQ(out.past_key_values->get_seq_length(), 3);
}

TEST(OutputsTest, LogitsToKeepSelectsColumns) {
  const auto model = load(TestCheckpoint(tiny_config()), {.deterministic = true});
  const Tensor ids = id_row(random_ids(6, 50));
  const auto all = model.forward({.input_ids = ids});
  const auto last = model.forward({.input_ids = ids, .logits_to_keep = 2});
  ASSERT_EQ(last.logits.shape(), (Shape{1, 2, 50}));
  EXPECT_EQ(column_of(last.logits, 0, 0), column_of(all.logits, 0, 4));
  EXPECT_EQ(column_of(last.logits, 0, 1), column_of(all.logits, 0, 5));
  const auto more = model.forward({.input_ids = ids, .logits_to_keep = 100});
  EXPECT_EQ(more.logits.shape(), (Shape{1, 6, 50}));
  const auto some =
      model.forward({.input_ids = ids, .logits_to_keep_indices = Tensor::from({3, -6}, {2})});
  EXPECT_EQ(column_of(some.logits, 0, 0), column_of(all.logits, 0, 3));
  EXPECT_EQ(column_of(some.logits, 0, 1), column_of(all.logits, 0, 0));
}

}  // namespace
}  // namespace dsv3
