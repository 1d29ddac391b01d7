// The public cache: what it holds, and what calls and operations do to it.
#include "dsv3/cache.h"

#include <gtest/gtest.h>

#include "model/test_models.h"
#include "ops/mla_attention.h"

namespace dsv3 {
namespace {

class CacheTest : public testing::Test {
 protected:
  const DeepseekV3ForCausalLM model_ = load(TestCheckpoint(tiny_config()), {.deterministic = true});
  const DeepseekV3Config config_ = model_.config();
  const std::vector<int64_t> ids_ = random_ids(150, config_.vocab_size);

  std::vector<int64_t> range(int64_t begin, int64_t end) const {
    return {ids_.begin() + begin, ids_.begin() + end};
  }
  /// Logits after the last of these tokens.
  std::vector<float> feed(const std::shared_ptr<Cache>& cache,
                          const std::vector<int64_t>& ids) const {
    const auto out =
        model_.forward({.input_ids = id_row(ids), .past_key_values = cache, .logits_to_keep = 1});
    return column_of(out.logits, 0, 0);
  }
  std::vector<float> fresh(const std::vector<int64_t>& ids) const {
    return feed(Cache::dynamic(config_), ids);
  }
};

TEST_F(CacheTest, CountsColumnsRowsAndBytes) {
  const auto cache = Cache::dynamic(config_);
  EXPECT_EQ(cache->get_seq_length(), 0);
  EXPECT_EQ(cache->batch_size(), 0);
  EXPECT_EQ(cache->bytes(), 0);
  model_.forward({.input_ids = id_rows({{1, 2, 3}, {4, 5, 6}}),
                  .attention_mask = id_rows({{0, 1, 1}, {1, 1, 1}}),
                  .past_key_values = cache});
  EXPECT_EQ(cache->get_seq_length(), 3);
  EXPECT_EQ(cache->batch_size(), 2);
  EXPECT_EQ(cache->bytes(), 2 * ops::kPageTokens * config_.num_hidden_layers * 16 * 4);
  EXPECT_GE(Cache::fixed(config_, 2, 100)->bytes(), 2 * 100 * config_.num_hidden_layers * 16 * 4);
}

TEST_F(CacheTest, StaticOverflowIsAnErrorAndLeavesTheCacheUsable) {
  const auto cache = Cache::fixed(config_, 1, 80);
  feed(cache, range(0, 70));
  const auto before = cache->copy();
  expect_error([&] { feed(cache, range(70, 81)); }, {"static cache", "70", "11", "80"});
  EXPECT_EQ(cache->get_seq_length(), 70);
  EXPECT_EQ(feed(cache, range(70, 80)), fresh(range(0, 80)));
  EXPECT_EQ(feed(before, range(70, 80)), fresh(range(0, 80)));
  expect_error([&] { feed(cache, {1}); }, {"80"});
}

TEST_F(CacheTest, StaticOverflowOfOneRowChangesNoRow) {
  const auto cache = Cache::fixed(config_, 2, 4);
  model_.forward({.input_ids = id_rows({{1, 2, 3}, {4, 5, 6}}),
                  .attention_mask = id_rows({{0, 1, 1}, {1, 1, 1}}),
                  .past_key_values = cache});
  const auto step = [&](std::vector<int64_t> a, std::vector<int64_t> b) {
    return model_.forward({.input_ids = id_rows({a, b}), .past_key_values = cache});
  };
  expect_error([&] { step({7, 8}, {7, 8}); }, {"capacity of 4"});
  EXPECT_EQ(cache->get_seq_length(), 3);
  EXPECT_EQ(column_of(step({7}, {8}).logits, 1, 0), fresh({4, 5, 6, 8}));
}

TEST_F(CacheTest, StaticCacheTakesFewerRowsAndAfterEmptyingMoreAgain) {
  const auto cache = Cache::fixed(config_, 3, 10);
  feed(cache, range(0, 5));
  EXPECT_EQ(cache->batch_size(), 1);
  expect_error(
      [&] {
        model_.forward({.input_ids = id_rows({{1}, {2}}), .past_key_values = cache});
      },
      {"1", "2"});
  cache->crop(0);
  const auto out =
      model_.forward({.input_ids = id_rows({{1}, {2}, {3}}), .past_key_values = cache});
  EXPECT_EQ(column_of(out.logits, 2, 0), fresh({3}));
  cache->crop(0);
  expect_error(
      [&] {
        model_.forward({.input_ids = id_rows({{1}, {2}, {3}, {4}}), .past_key_values = cache});
      },
      {"room for 3", "4"});
  // Rows that were given up and came back are static too.
  feed(cache, {1});
  cache->crop(0);
  const Tensor long_rows = id_rows({range(0, 11), range(0, 11), range(0, 11)});
  expect_error([&] { model_.forward({.input_ids = long_rows, .past_key_values = cache}); },
               {"capacity of 10"});
}

TEST_F(CacheTest, AFailedCallLeavesTheCacheAsItWas) {
  const auto cache = Cache::dynamic(config_);
  expect_error(
      [&] {
        model_.forward({.input_ids = id_rows({{1}, {99}}), .past_key_values = cache});
      },
      {"99"});
  feed(cache, range(0, 10));  // another batch size than that of the failed first call
  const auto fails = [&](ForwardArgs args) {
    args.past_key_values = cache;
    EXPECT_THROW(model_.forward(args), Error);
    EXPECT_EQ(cache->get_seq_length(), 10);
  };
  fails({.input_ids = id_row({1, 99})});
  fails({.input_ids = id_row({1, 2}), .labels = id_row({1, 99})});
  fails({.input_ids = id_row({1, 2}), .logits_to_keep = -1});
  Tensor embeds(DType::kF32, {1, 2, config_.hidden_size});
  embeds.as_mutable<float>()[30] = NAN;
  fails({.inputs_embeds = embeds});
  EXPECT_EQ(feed(cache, range(10, 20)), fresh(range(0, 20)));
}

TEST_F(CacheTest, CropAndContinueEqualsFresh) {
  for (const bool fixed : {false, true}) {
    for (const int64_t kept : {0, 1, 63, 64, 65, 100}) {
      const auto cache = fixed ? Cache::fixed(config_, 1, 150) : Cache::dynamic(config_);
      feed(cache, range(20, 150));
      cache->crop(0);
      feed(cache, range(0, 130));
      cache->crop(kept);
      EXPECT_EQ(cache->get_seq_length(), kept);
      EXPECT_EQ(feed(cache, range(kept, 140)), fresh(range(0, 140))) << kept;
    }
  }
}

TEST_F(CacheTest, NegativeCropForgetsTheLastColumns) {
  const auto cache = Cache::dynamic(config_);
  feed(cache, range(0, 70));
  cache->crop(-7);
  EXPECT_EQ(cache->get_seq_length(), 63);
  cache->crop(1000);
  EXPECT_EQ(cache->get_seq_length(), 63);
  EXPECT_EQ(feed(cache, range(63, 70)), fresh(range(0, 70)));
  cache->crop(-1000);
  EXPECT_EQ(cache->get_seq_length(), 0);
  EXPECT_EQ(feed(cache, range(0, 9)), fresh(range(0, 9)));
}

TEST_F(CacheTest, CropCountsPaddingColumns) {
  const auto cache = Cache::dynamic(config_);
  model_.forward({.input_ids = id_rows({{0, 0, 1, 2}, {3, 4, 5, 6}}),
                  .attention_mask = id_rows({{0, 0, 1, 1}, {1, 1, 1, 1}}),
                  .position_ids = id_rows({{0, 0, 0, 1}, {0, 1, 2, 3}}),
                  .past_key_values = cache});
  cache->crop(3);
  const auto out = model_.forward({.input_ids = id_rows({{7}, {8}}),
                                   .attention_mask = id_rows({{0, 0, 1, 1}, {1, 1, 1, 1}}),
                                   .position_ids = id_rows({{1}, {3}}),
                                   .past_key_values = cache});
  EXPECT_EQ(column_of(out.logits, 0, 0), fresh({1, 7}));
  EXPECT_EQ(column_of(out.logits, 1, 0), fresh({3, 4, 5, 8}));
}

TEST_F(CacheTest, CopiesDivergeIndependently) {
  for (const bool fixed : {false, true}) {
    const auto cache = fixed ? Cache::fixed(config_, 1, 150) : Cache::dynamic(config_);
    feed(cache, range(0, 70));  // into the middle of a page
    const auto copy = cache->copy();
    EXPECT_EQ(feed(cache, range(70, 75)), fresh(range(0, 75)));
    auto other = range(0, 70);
    other.insert(other.end(), {1, 2, 3});
    EXPECT_EQ(feed(copy, {1, 2, 3}), fresh(other));
    EXPECT_EQ(feed(cache, range(75, 140)), fresh(range(0, 140)));
    other.push_back(4);
    EXPECT_EQ(feed(copy, {4}), fresh(other));
  }
}

TEST_F(CacheTest, ReorderedRowsAreCopies) {
  for (const bool fixed : {false, true}) {
    const auto cache = fixed ? Cache::fixed(config_, 3, 100) : Cache::dynamic(config_);
    std::vector<std::vector<int64_t>> rows = {range(0, 70), range(10, 80), range(20, 90)};
    model_.forward({.input_ids = id_rows(rows), .past_key_values = cache});
    cache->reorder(std::vector<int64_t>{2, 0, 0});
    rows = {rows[2], rows[0], rows[0]};
    const auto out =
        model_.forward({.input_ids = id_rows({{1}, {2}, {3}}), .past_key_values = cache});
    for (int64_t b = 0; b < 3; ++b) {
      rows[b].push_back(b + 1);
      EXPECT_EQ(column_of(out.logits, b, 0), fresh(rows[b])) << b;
    }
    expect_error([&] { cache->reorder(std::vector<int64_t>{0, 3}); }, {"3"});
    expect_error([&] { cache->reorder(std::vector<int64_t>{-1}); }, {"-1"});
    EXPECT_EQ(cache->get_seq_length(), 71);
  }
}

// bf16 keeps 8 bits: each cached number is off by at most 2^-9 of itself.
TEST_F(CacheTest, Bf16CacheRoundsALittle) {
  const auto cache = Cache::dynamic(config_, DType::kBF16);
  const std::vector<float> exact = fresh(range(0, 140)), rounded = feed(cache, range(0, 140));
  double largest = 0;
  for (const float x : exact) largest = std::max(largest, std::fabs(double{x}));
  EXPECT_GT(difference(rounded, exact), 0);
  EXPECT_LE(difference(rounded, exact),
            static_cast<double>(config_.num_hidden_layers) * largest / 256);
  auto other = Cache::dynamic(config_);
  feed(other, range(0, 140));
  EXPECT_EQ(2 * cache->bytes(), other->bytes());
}

TEST_F(CacheTest, Bf16CacheGivesTheSameBitsInChunks) {
  const auto whole = Cache::dynamic(config_, DType::kBF16),
             chunks = Cache::fixed(config_, 1, 150, DType::kBF16);
  for (int64_t t = 0; t < 139; ++t) feed(chunks, {ids_[t]});
  EXPECT_EQ(feed(chunks, {ids_[139]}), feed(whole, range(0, 140)));
}

TEST_F(CacheTest, RefusesWrongElementTypesAndSizes) {
  expect_error([&] { Cache::dynamic(config_, DType::kF16); }, {"F32, BF16 or I8", "F16"});
  expect_error([&] { Cache::fixed(config_, 0, 10); }, {"0", "10"});
  expect_error([&] { Cache::fixed(config_, 1, 0); }, {"1", "0"});
}

TEST(CacheMaskTest, AMaskHidesAPastColumnFromLaterTokens) {
  // With one layer a token's latent does not depend on other tokens, so that a hidden one might as
  // well not be there.
  DeepseekV3Config config = tiny_config();
  config.num_hidden_layers = 1;
  const auto model = load(TestCheckpoint(config), {.deterministic = true});
  const auto first = model.forward({.input_ids = id_row({1, 2, 3, 4})});
  const auto out = model.forward({.input_ids = id_row({5}),
                                  .attention_mask = id_row({1, 0, 1, 1, 1}),
                                  .past_key_values = first.past_key_values,
                                  .output_attentions = true});
  const auto without =
      model.forward({.input_ids = id_row({1, 3, 4, 5}), .position_ids = id_row({0, 2, 3, 4})});
  EXPECT_LE(difference(column_of(out.logits, 0, 0), column_of(without.logits, 0, 3)), 1e-5);
  EXPECT_EQ(out.attentions[0].as<float>()[1], 0.0f);
  // It is only hidden: a later mask may show it again.
  const auto shown =
      model.forward({.input_ids = id_row({6}), .past_key_values = first.past_key_values});
  const auto all = model.forward({.input_ids = id_row({1, 2, 3, 4, 5, 6})});
  EXPECT_EQ(column_of(shown.logits, 0, 0), column_of(all.logits, 0, 5));
}

TEST(CacheMaskTest, AMaskThatUnpadsAPastColumnIsAnError) {
  const auto model = load(TestCheckpoint(tiny_config()));
  const auto first = model.forward(
      {.input_ids = id_rows({{1, 2}, {3, 4}}), .attention_mask = id_rows({{1, 1}, {0, 1}})});
  expect_error(
      [&] {
        model.forward({.input_ids = id_rows({{5}, {6}}),
                       .attention_mask = id_rows({{1, 1, 1}, {1, 1, 1}}),
                       .past_key_values = first.past_key_values});
      },
      {"attention_mask[1, 0]", "padding"});
  // Without a mask, padding of earlier calls stays padding.
  const auto out = model.forward({.input_ids = id_rows({{5}, {6}}),
                                  .past_key_values = first.past_key_values,
                                  .output_attentions = true});
  EXPECT_EQ(out.attentions[0].as<float>()[2 * 3], 0.0f);  // row 1, head 0, key 0
}

}  // namespace
}  // namespace dsv3
