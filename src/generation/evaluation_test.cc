#include "generation/evaluation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace dsv3::generation {
namespace {

const std::filesystem::path kStories = std::filesystem::path(DSV3_SOURCE_DIR) / "models/stories";

const DeepseekV3ForCausalLM& stories() {
  static const auto model =
      DeepseekV3ForCausalLM::from_pretrained(kStories, {.dtype = WeightDType::kFloat32});
  return model;
}

std::vector<int64_t> valid_ids(size_t count) {
  const std::string bytes = read_file(kStories / "valid_slice.bin");
  std::vector<int64_t> ids;
  for (size_t i = 0; i < std::min(count, bytes.size() / 4); ++i) {
    int32_t id = 0;
    std::memcpy(&id, bytes.data() + 4 * i, 4);
    ids.push_back(id);
  }
  return ids;
}

/// -log p of every token but the first, by one plain forward call.
std::vector<double> losses_of(std::span<const int64_t> ids) {
  ForwardArgs args;
  args.input_ids = Tensor::from(ids, {1, static_cast<int64_t>(ids.size())});
  args.use_cache = false;
  const Tensor logits = stories().forward(args).logits;
  const int64_t vocab = logits.dim(2);
  std::vector<double> losses;
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    const auto row =
        logits.as<float>().subspan(i * static_cast<size_t>(vocab), static_cast<size_t>(vocab));
    double sum = 0;
    for (const float x : row) sum += std::exp(static_cast<double>(x));
    losses.push_back(std::log(sum) - static_cast<double>(row[static_cast<size_t>(ids[i + 1])]));
  }
  return losses;
}

TEST(EvaluationTest, LossOfTheSliceEqualsTransformers) {
  const Json expected = read_json_file(kStories / "expected.json")["valid"];
  TokenScorer scorer(stories());
  const TextLoss loss = evaluate_text(scorer, valid_ids(1 << 20), {256, 256}, nullptr);
  EXPECT_EQ(loss.tokens, expected["tokens"].get<int64_t>());
  EXPECT_EQ(loss.windows, expected["windows"].get<int64_t>());
  EXPECT_NEAR(loss.cross_entropy(), expected["mean_cross_entropy"].get<double>(), 1e-4);
  EXPECT_NEAR(loss.perplexity(), std::exp(expected["mean_cross_entropy"].get<double>()), 1e-3);
  EXPECT_FALSE(loss.bits_per_byte().has_value());
}

TEST(EvaluationTest, OverlappingWindowsPredictEachTokenOnceWithThePromisedContext) {
  const std::vector<int64_t> ids = valid_ids(90);
  const int64_t window = 32, stride = 20;
  double nats = 0;
  int64_t tokens = 0;
  for (int64_t begin = 0, predicted = 1; predicted < 90; begin += stride) {
    const int64_t end = std::min<int64_t>(begin + window + 1, 90);
    const auto losses = losses_of(
        std::span(ids).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
    for (int64_t i = predicted; i < end; ++i, ++tokens) {
      nats += losses[static_cast<size_t>(i - begin - 1)];
    }
    predicted = end;
  }
  ASSERT_EQ(tokens, 89);
  TokenScorer scorer(stories());
  const TextLoss loss = evaluate_text(scorer, ids, {window, stride}, nullptr);
  EXPECT_EQ(loss.tokens, 89);
  EXPECT_NEAR(loss.nats, nats, 1e-3);
}

TEST(EvaluationTest, SecondHalvesAreThoseOfWindowsThatBeginWithBos) {
  const std::vector<int64_t> ids = valid_ids(70);
  double nats = 0;
  for (const size_t begin : {0, 32}) {  // the last 6 tokens fill no window
    std::vector<int64_t> window(ids.begin() + begin, ids.begin() + begin + 32);
    window[0] = 0;
    const auto losses = losses_of(window);
    for (size_t i = 17; i < 32; ++i) nats += losses[i - 1];
  }
  TokenScorer scorer(stories());
  const TextLoss loss = evaluate_second_halves(scorer, ids, 32, 0);
  EXPECT_EQ(loss.windows, 2);
  EXPECT_EQ(loss.tokens, 30);
  EXPECT_NEAR(loss.nats, nats, 1e-3);
  EXPECT_THROW(evaluate_second_halves(scorer, valid_ids(31), 32, 0), Error);
}

TEST(EvaluationTest, BatchesThatCutWindowsAnywhereGiveTheSameLoss) {
  const std::vector<int64_t> ids = valid_ids(130);
  TokenScorer whole(stories());
  const TextLoss expected = evaluate_text(whole, ids, {40, 40}, nullptr);
  for (const int64_t batch : {1, 7, 39, 41, 64, 100}) {
    TokenScorer scorer(stories(), batch);
    const TextLoss loss = evaluate_text(scorer, ids, {40, 40}, nullptr);
    EXPECT_EQ(loss.tokens, expected.tokens);
    EXPECT_EQ(loss.windows, expected.windows);
    EXPECT_NEAR(loss.nats, expected.nats, 1e-3) << batch;
  }
}

TEST(EvaluationTest, BytesAreThoseOfPredictedTextAndNotOfSpecialTokens) {
  const Tokenizer tokenizer = Tokenizer::from_file(kStories);
  const std::string text = "Once upon a time, there was a caf\xC3\xA9.";
  std::vector<int64_t> ids = tokenizer.encode_prompt(text);
  TokenScorer scorer(stories());
  EXPECT_EQ(evaluate_text(scorer, ids, {}, &tokenizer).bytes, static_cast<int64_t>(text.size()));
  ids.push_back(*tokenizer.eos_token_id());
  const TextLoss loss = evaluate_text(scorer, ids, {}, &tokenizer);
  EXPECT_EQ(loss.bytes, static_cast<int64_t>(text.size()));
  EXPECT_NEAR(*loss.bits_per_byte(), loss.nats / std::log(2.0) / static_cast<double>(text.size()),
              1e-12);
}

TEST(EvaluationTest, WrongWindowsAndIdsAreRefused) {
  TokenScorer scorer(stories());
  const std::vector<int64_t> ids = valid_ids(20);
  EXPECT_THROW(evaluate_text(scorer, ids, {513, 0}, nullptr), Error);
  EXPECT_THROW(evaluate_text(scorer, ids, {10, 11}, nullptr), Error);
  EXPECT_THROW(evaluate_text(scorer, ids, {-1, 0}, nullptr), Error);
  EXPECT_THROW(evaluate_text(scorer, std::span(ids).first(1), {}, nullptr), Error);
  const std::vector<int64_t> wrong = {0, 4096};
  EXPECT_THROW(evaluate_text(scorer, wrong, {}, nullptr), Error);
  EXPECT_THROW(TokenScorer(stories(), 0), Error);
}

TEST(ChoicesTest, SpacesAtTheEndOfTheContextGoToTheContinuation) {
  const Tokenizer tokenizer = Tokenizer::from_file(kStories);
  const EncodedContinuation a = encode_continuation(tokenizer, "The dog ", "ran", 0);
  const EncodedContinuation b = encode_continuation(tokenizer, "The dog", " ran", 0);
  EXPECT_EQ(a.context, b.context);
  EXPECT_EQ(a.continuation, b.continuation);
  EXPECT_EQ(a.context, tokenizer.encode_prompt("The dog"));
  EXPECT_EQ(tokenizer.decode(a.continuation), " ran");
}

TEST(ChoicesTest, AnEmptyContextIsThePrefixToken) {
  const Tokenizer tokenizer = Tokenizer::from_file(kStories);
  const EncodedContinuation e = encode_continuation(tokenizer, " ", "Once", 7);
  EXPECT_EQ(e.context, (std::vector<int64_t>{7}));
  EXPECT_EQ(tokenizer.decode(e.continuation), " Once");
}

TEST(ChoicesTest, ScoresEqualWholeForwardCallsAndDoNotDependOnSharing) {
  const Tokenizer tokenizer = Tokenizer::from_file(kStories);
  const std::vector<ChoiceItem> items = {
      {"Once upon a time, there was a little", {"girl named Lily.", "of", "boat"}, 0},
      {"Tom and his dog went to the ", {"park", "why why why"}, 0},
      {"", {"Once upon", "Zebra"}, 0}};
  TokenScorer scorer(stories());
  const std::vector<ChoiceScore> scores = score_choices(scorer, tokenizer, items);
  ASSERT_EQ(scores.size(), 3u);
  for (size_t i = 0; i < items.size(); ++i) {
    for (size_t c = 0; c < items[i].choices.size(); ++c) {
      const EncodedContinuation text =
          encode_continuation(tokenizer, items[i].context, " " + items[i].choices[c], 0);
      std::vector<int64_t> ids = text.context;
      ids.insert(ids.end(), text.continuation.begin(), text.continuation.end());
      const std::vector<double> losses = losses_of(ids);
      double logprob = 0;
      for (size_t k = text.context.size(); k < ids.size(); ++k) logprob -= losses[k - 1];
      EXPECT_NEAR(scores[i].logprobs[c], logprob, 1e-3) << i << " " << c;
    }
  }
  EXPECT_EQ(scores[0].chosen_normalised, 0);
  EXPECT_EQ(scores[1].chosen, 0);
  EXPECT_TRUE(scores[0].is_greedy[0]);
  EXPECT_FALSE(scores[1].is_greedy[1]);

  TokenScorer small(stories(), 3);
  const std::vector<ChoiceScore> again = score_choices(small, tokenizer, items);
  for (size_t i = 0; i < items.size(); ++i) {
    for (size_t c = 0; c < items[i].choices.size(); ++c)
      EXPECT_NEAR(again[i].logprobs[c], scores[i].logprobs[c], 1e-3);
  }
}

TEST(ChoicesTest, NormalisationIsByBytesOfTheChoice) {
  // A long choice loses by its sum and may win by its mean.
  const Tokenizer tokenizer = Tokenizer::from_file(kStories);
  const std::vector<ChoiceItem> items = {
      {"Once upon a time, there was a little", {"girl named Lily. She loved to play", "dog"}, 0}};
  TokenScorer scorer(stories());
  const ChoiceScore score = score_choices(scorer, tokenizer, items).front();
  const size_t chosen = score.logprobs[0] > score.logprobs[1] ? 0 : 1;
  EXPECT_EQ(score.chosen, static_cast<int64_t>(chosen));
  const double a = score.logprobs[0] / 34, b = score.logprobs[1] / 3;
  EXPECT_EQ(score.chosen_normalised, a > b ? 0 : 1);
  EXPECT_EQ(score.chosen_normalised, 0);
}

TEST(ChoicesTest, TextLongerThanTheContextLosesItsBeginning) {
  const Tokenizer tokenizer = Tokenizer::from_file(kStories);
  std::string text;
  for (int i = 0; i < 400; ++i) text += "Lily ran. ";
  TokenScorer scorer(stories());
  // What is left decides: the same as of a text that begins there.
  const std::vector<ChoiceItem> items = {{text, {"Lily ran", "Tom"}, 0},
                                         {"Who? " + text, {"Lily ran", "Tom"}, 0}};
  const std::vector<ChoiceScore> scores = score_choices(scorer, tokenizer, items);
  for (const size_t choice : {0, 1}) {
    EXPECT_TRUE(std::isfinite(scores[0].logprobs[choice]));
    EXPECT_NEAR(scores[0].logprobs[choice], scores[1].logprobs[choice], 1e-4);
  }
  const std::vector<ChoiceItem> too_long = {{"x", {text, "Tom"}, 0}};
  EXPECT_THROW(score_choices(scorer, tokenizer, too_long), Error);
}

TEST(ChoicesTest, ItemsAreReadAndErrorsNameTheField) {
  const ChoiceItem item =
      parse_choice_item(R"({"question": "q", "choices": ["a", "b"], "answer": 1, "x": 2})", "f:1");
  EXPECT_EQ(item.context, "q");
  EXPECT_EQ(item.choices, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(item.answer, 1);
  const auto message = [](const std::string& line) {
    try {
      parse_choice_item(line, "f:3");
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(message("{").find("f:3"), std::string::npos);
  EXPECT_NE(message("[]").find("expected an object"), std::string::npos);
  EXPECT_NE(message(R"({"choices": ["a"], "answer": 0})").find("question"), std::string::npos);
  EXPECT_NE(message(R"({"context": 1, "choices": ["a"], "answer": 0})").find("context"),
            std::string::npos);
  EXPECT_NE(message(R"({"context": "", "choices": [], "answer": 0})").find("choices"),
            std::string::npos);
  EXPECT_NE(message(R"({"context": "", "choices": ["a"], "answer": 1})").find("answer"),
            std::string::npos);
}

}  // namespace
}  // namespace dsv3::generation
