#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <set>
#include <utility>

#include "dsv3/generation.h"
#include "generation/fake_lm.h"

namespace dsv3::generation {
namespace {

using Ids = std::vector<int64_t>;

GenerationRequest request_for(std::vector<Ids> prompts, const std::string& kwargs) {
  GenerationRequest request;
  request.prompts = std::move(prompts);
  request.config.apply(kwargs);
  return request;
}

std::vector<Ids> tokens_of(const GenerationResult& result) {
  std::vector<Ids> tokens;
  for (const SequenceResult& s : result.sequences) tokens.push_back(s.tokens);
  return tokens;
}

GenerationResult run(const GenerationRequest& request) {
  FakeLm model;
  GenerationResult result = generate(model, request);
  EXPECT_EQ(model.alive, 0) << "states left behind";
  return result;
}

/// The message of the Error that the request leads to, or "".
std::string error_of(const GenerationRequest& request, int64_t max_length = 1000) {
  FakeLm model(24, max_length);
  try {
    generate(model, request);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

/// Tokens become letters; token 23 is the first half of a two-byte character, completed by any
/// other.
TextDecoder letters() {
  auto held = std::make_shared<bool>(false);
  return {[held](int64_t id) -> std::string {
            if (id == 23) {
              *held = true;
              return "";
            }
            const std::string prefix = std::exchange(*held, false) ? "é" : "";
            return prefix + static_cast<char>('a' + id);
          },
          [held]() -> std::string { return *held ? "\xEF\xBF\xBD" : ""; }};
}

/// A model that says a given text, whatever the prompt, and then token 0.
class ScriptedLm : public FakeLm {
 public:
  ScriptedLm(Ids script, int64_t prompt_length)
      : script_(std::move(script)), prompt_length_(prompt_length) {}

 protected:
  void row_logits(std::span<const int64_t> history, std::span<float> logits) override {
    const size_t at = history.size() - static_cast<size_t>(prompt_length_);
    std::fill(logits.begin(), logits.end(), 0.0f);
    logits[static_cast<size_t>(at < script_.size() ? script_[at] : 0)] = 5;
  }

 private:
  Ids script_;
  int64_t prompt_length_;
};

const std::vector<Ids> kPrompts = {{3, 4, 5, 6, 7, 8, 9}, {1}, {5, 5, 2}, {9, 8, 7, 6, 5}};

TEST(GenerateTest, BatchGivesWhatEachPromptGivesAlone) {
  for (
      const char* kwargs :
      {R"({"max_new_tokens": 12, "eos_token_id": [1, 2, 3]})",
       R"({"max_new_tokens": 9, "num_beams": 3, "eos_token_id": [1, 2, 3], "num_return_sequences": 2})",
       R"({"max_new_tokens": 9, "num_beams": 3, "eos_token_id": [1, 2, 3, 4, 5, 6], "early_stopping": true})",
       R"({"max_length": 11, "repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "eos_token_id": 2})",
       R"({"max_length": 11, "num_beams": 2, "length_penalty": 2.0, "eos_token_id": 2})"}) {
    SCOPED_TRACE(kwargs);
    const auto together = run(request_for(kPrompts, kwargs));
    const size_t returned = together.sequences.size() / kPrompts.size();
    for (size_t p = 0; p < kPrompts.size(); ++p) {
      const auto alone = run(request_for({kPrompts[p]}, kwargs));
      for (size_t r = 0; r < returned; ++r) {
        const SequenceResult& s = together.sequences[p * returned + r];
        EXPECT_EQ(s.tokens, alone.sequences[r].tokens);
        EXPECT_EQ(s.finish_reason, alone.sequences[r].finish_reason);
        EXPECT_EQ(s.score, alone.sequences[r].score);
      }
    }
  }
}

TEST(GenerateTest, PaddedRowsGiveWhatPromptsGive) {
  auto ragged = request_for({{7, 8}, {5, 6, 7, 8}},
                            R"({"max_new_tokens": 6, "pad_token_id": 2, "eos_token_id": 1})");
  auto padded = ragged;
  padded.prompts.clear();
  padded.input_ids = {{2, 2, 7, 8}, {5, 6, 7, 8}};
  const auto expected = tokens_of(run(ragged));
  EXPECT_EQ(tokens_of(run(padded)), expected);  // mask inferred from pad_token_id
  padded.attention_mask = {{0, 0, 1, 1}, {1, 1, 1, 1}};
  EXPECT_EQ(tokens_of(run(padded)), expected);
  EXPECT_EQ(padded_sequences(ragged, run(ragged)), padded_sequences(padded, run(padded)));
}

TEST(GenerateTest, MaskIsNotInferredWherePadIsEosOrUnknown) {
  auto request =
      request_for({}, R"({"max_new_tokens": 3, "pad_token_id": 2, "eos_token_id": [1, 2]})");
  request.input_ids = {{2, 2, 7, 8}};
  const auto as_is =
      request_for({{2, 2, 7, 8}}, R"({"max_new_tokens": 3, "eos_token_id": [1, 2]})");
  EXPECT_EQ(tokens_of(run(request)), tokens_of(run(as_is)));
}

TEST(GenerateTest, MaxLengthCountsThePaddedWidthOfRowsAndTheTokensOfPrompts) {
  auto request = request_for({{7, 8}, {5, 6, 7, 8}}, R"({"max_length": 7, "pad_token_id": 2})");
  auto tokens = tokens_of(run(request));
  EXPECT_EQ(tokens[0].size(), 5u);
  EXPECT_EQ(tokens[1].size(), 3u);
  request.input_ids = {{2, 2, 7, 8}, {5, 6, 7, 8}};
  request.prompts.clear();
  tokens = tokens_of(run(request));
  EXPECT_EQ(tokens[0].size(), 3u);
  EXPECT_EQ(tokens[1].size(), 3u);
}

TEST(GenerateTest, PrefillIsCutIntoChunksThatPromptsShare) {
  auto request = request_for(kPrompts, R"({"max_new_tokens": 2})");
  const auto expected = tokens_of(run(request));
  for (const int64_t chunk : {1, 2, 3, 5, 8, 16, 100}) {
    request.prefill_chunk = chunk;
    FakeLm model;
    EXPECT_EQ(tokens_of(generate(model, request)), expected) << chunk;
    const int64_t prompt_tokens = 7 + 1 + 3 + 5;
    const size_t prefill_steps = static_cast<size_t>((prompt_tokens + chunk - 1) / chunk);
    ASSERT_EQ(model.step_tokens.size(), prefill_steps + 1) << chunk;
    for (size_t i = 0; i + 1 < prefill_steps; ++i) EXPECT_EQ(model.step_tokens[i], chunk);
    EXPECT_EQ(model.step_tokens.back(), 4);
  }
}

TEST(GenerateTest, FinishedSequencesLeaveTheBatch) {
  FakeLm model;
  const auto result = generate(
      model, request_for(kPrompts, R"({"max_new_tokens": 30, "eos_token_id": [1, 2, 3]})"));
  std::vector<int64_t> expected;  // sequences in each decoding step
  for (size_t step = 0;; ++step) {
    int64_t active = 0;
    for (const SequenceResult& s : result.sequences) active += s.tokens.size() > step + 1;
    if (active == 0) break;
    expected.push_back(active);
  }
  expected.insert(expected.begin(), static_cast<int64_t>(kPrompts.size()));  // prefill
  EXPECT_EQ(model.step_sequences, expected);
  EXPECT_LT(expected.back(), 4);
}

TEST(GenerateTest, AnyEosEndsASequenceAndIsItsLastToken) {
  const auto result =
      run(request_for(kPrompts, R"({"max_new_tokens": 40, "eos_token_id": [1, 2, 3]})"));
  const std::set<int64_t> eos = {1, 2, 3};
  for (const SequenceResult& s : result.sequences) {
    ASSERT_EQ(s.finish_reason, FinishReason::kStop);
    EXPECT_TRUE(eos.count(s.tokens.back()));
    for (size_t i = 0; i + 1 < s.tokens.size(); ++i) EXPECT_FALSE(eos.count(s.tokens[i]));
  }
}

TEST(GenerateTest, MinNewTokensKeepsEosAwayInEverySequence) {
  const auto result = run(request_for(
      kPrompts,
      R"({"max_new_tokens": 40, "min_new_tokens": 9, "eos_token_id": [1, 2, 3, 4, 5, 6]})"));
  for (const SequenceResult& s : result.sequences) {
    EXPECT_GT(s.tokens.size(), 9u);
    EXPECT_EQ(s.finish_reason, FinishReason::kStop);
  }
}

TEST(GenerateTest, TheEndOfTheContextIsACleanLength) {
  for (const char* kwargs :
       {R"({"max_new_tokens": 50})", R"({"max_new_tokens": 50, "num_beams": 2})"}) {
    FakeLm model(24, 8);
    const auto result =
        generate(model, request_for({{1, 2, 3, 4, 5}, {6}, {1, 2, 3, 4, 5, 6, 7, 8}}, kwargs));
    EXPECT_EQ(result.sequences[0].tokens.size(), 3u);
    EXPECT_EQ(result.sequences[1].tokens.size(), 7u);
    EXPECT_EQ(result.sequences[2].tokens.size(), 0u);
    for (const SequenceResult& s : result.sequences)
      EXPECT_EQ(s.finish_reason, FinishReason::kLength);
    EXPECT_LE(model.longest, 8);
  }
}

TEST(GenerateTest, TwentyNewTokensWhereNothingIsSaid) {
  EXPECT_EQ(run(request_for({{1, 2}}, "{}")).sequences[0].tokens.size(), 20u);
}

TEST(GenerateTest, MaxTimeEndsAtTheNextToken) {
  const auto result = run(request_for(kPrompts, R"({"max_new_tokens": 50, "max_time": 1e-9})"));
  for (const SequenceResult& s : result.sequences) {
    EXPECT_EQ(s.tokens.size(), 1u);
    EXPECT_EQ(s.finish_reason, FinishReason::kLength);
  }
}

TEST(GenerateTest, RequestsThatMakeNoSenseSayWhy) {
  EXPECT_EQ(error_of(request_for({}, "{}")),
            "a generation request needs either prompts or input_ids; neither is given");
  EXPECT_EQ(error_of(request_for({{1}, {}}, "{}")),
            "prompt 1 is empty; begin with bos_token_id at least");
  EXPECT_EQ(error_of(request_for({{1, 24}}, "{}")),
            "prompt 0: token id 24 is outside the vocabulary of 24");
  EXPECT_EQ(error_of(request_for({{-1}}, "{}")),
            "prompt 0: token id -1 is outside the vocabulary of 24");
  EXPECT_EQ(error_of(request_for({{1}, {1, 2, 3, 4}}, "{}"), 3),
            "prompt 1 has 4 tokens, more than the model's context of 3");
  EXPECT_EQ(error_of(request_for({{1, 2, 3}}, R"({"max_length": 3})")),
            "prompt 0 has 3 tokens, but max_length, which counts them, is 3: raise it or set "
            "max_new_tokens");
  EXPECT_NE(error_of(request_for({{1}}, R"({"stop_strings": "x"})")).find("make_text_decoder"),
            std::string::npos);

  auto rows = request_for({}, R"({"pad_token_id": 2, "eos_token_id": 1})");
  rows.input_ids = {{5, 6, 7}, {5, 2, 2}};
  EXPECT_EQ(error_of(rows),
            "right-padded prompt in row 1 of input_ids: generation goes on from the last column; "
            "pad on the left");
  rows.input_ids = {{5, 2, 7}};
  EXPECT_EQ(
      error_of(rows),
      "prompt in row 0 of input_ids has padding in its midst, in column 1; only padding on the "
      "left is possible");
  rows.input_ids = {{2, 2, 2}};
  EXPECT_EQ(error_of(rows), "prompt 0 is empty: all of its tokens are padding");
  rows.input_ids = {{5, 6}, {7}};
  EXPECT_NE(error_of(rows), "");
  rows.input_ids = {{5, 6}};
  rows.attention_mask = {{1, 1}, {1, 1}};
  EXPECT_NE(error_of(rows), "");
  rows.attention_mask = {{1, 2}};
  EXPECT_NE(error_of(rows), "");
  rows.attention_mask = {{0, 1}};
  EXPECT_EQ(error_of(rows), "");
  rows.prompts = {{1}};
  EXPECT_EQ(error_of(rows),
            "a generation request needs either prompts or input_ids; both are given");
}

TEST(GenerateTest, TokensStreamInOrderAndAsTheyAreReturned) {
  auto request =
      request_for(kPrompts, R"({"max_new_tokens": 8, "eos_token_id": [1, 2, 3], "logprobs": 2})");
  std::vector<Ids> streamed(kPrompts.size());
  std::vector<std::vector<float>> logprobs(kPrompts.size());
  request.on_token = [&](int64_t sequence, int64_t token, const TokenLogprobs* lp) {
    streamed[static_cast<size_t>(sequence)].push_back(token);
    logprobs[static_cast<size_t>(sequence)].push_back(lp->logprob);
    return true;
  };
  const auto result = run(request);
  EXPECT_EQ(streamed, tokens_of(result));
  for (size_t i = 0; i < logprobs.size(); ++i) {
    ASSERT_EQ(result.sequences[i].logprobs.size(), result.sequences[i].tokens.size());
    for (size_t t = 0; t < logprobs[i].size(); ++t) {
      const TokenLogprobs& lp = result.sequences[i].logprobs[t];
      EXPECT_EQ(lp.logprob, logprobs[i][t]);
      ASSERT_EQ(lp.top.size(), 2u);
      EXPECT_EQ(lp.top[0].first, result.sequences[i].tokens[t]);  // greedy
      EXPECT_EQ(lp.top[0].second, lp.logprob);
      EXPECT_GT(lp.top[0].second, lp.top[1].second);
    }
  }
}

TEST(GenerateTest, ACallbackCancelsItsSequenceOnly) {
  auto request = request_for(kPrompts, R"({"max_new_tokens": 8})");
  const auto whole = tokens_of(run(request));
  int seen = 0;
  request.on_token = [&](int64_t sequence, int64_t, const TokenLogprobs* lp) {
    EXPECT_EQ(lp, nullptr);
    return sequence != 2 || ++seen < 3;
  };
  const auto result = run(request);
  for (size_t i = 0; i < whole.size(); ++i) {
    const bool cancelled = i == 2;
    EXPECT_EQ(result.sequences[i].finish_reason,
              cancelled ? FinishReason::kCancelled : FinishReason::kLength);
    EXPECT_EQ(result.sequences[i].tokens,
              Ids(whole[i].begin(), whole[i].begin() + (cancelled ? 3 : 8)));
  }
}

TEST(GenerateTest, StopStringsAreFoundAcrossTokensAndCutFromTheText) {
  const Ids script = {7, 4, 23, 11, 11, 14};  // h e é+l l o
  for (const bool include : {false, true}) {
    ScriptedLm model(script, 2);
    auto request =
        request_for({{1, 2}}, R"({"max_new_tokens": 10, "stop_strings": ["zz", "\u00e9ll"]})");
    request.make_text_decoder = letters;
    request.include_stop_string = include;
    std::string streamed;
    request.on_text = [&](int64_t sequence, std::string_view text) {
      EXPECT_EQ(sequence, 0);
      streamed += text;
      return true;
    };
    const SequenceResult s = generate(model, request).sequences[0];
    EXPECT_EQ(s.finish_reason, FinishReason::kStopString);
    EXPECT_EQ(s.stop_string, "éll");
    EXPECT_EQ(s.text, include ? "heéll" : "he");
    EXPECT_EQ(streamed, s.text);
    EXPECT_EQ(s.tokens,
              Ids(script.begin(), script.begin() + 5));  // as in transformers, with the stop string
  }
}

TEST(GenerateTest, TextHeldBackComesAtTheEndAndEosIsNoText) {
  ScriptedLm model({7, 4, 23, 1}, 1);  // h e <half a character> eos
  auto request = request_for({{1}}, R"({"eos_token_id": 1, "stop_strings": "ex"})");
  request.make_text_decoder = letters;
  const SequenceResult s = generate(model, request).sequences[0];
  EXPECT_EQ(s.finish_reason, FinishReason::kStop);
  EXPECT_EQ(s.text, "he\xEF\xBF\xBD");
}

TEST(GenerateTest, OnTextCancels) {
  ScriptedLm model({7, 4, 11, 11, 14}, 1);
  auto request = request_for({{1}}, R"({"max_new_tokens": 10})");
  request.make_text_decoder = letters;
  request.on_text = [](int64_t, std::string_view text) { return text != "e"; };
  const SequenceResult s = generate(model, request).sequences[0];
  EXPECT_EQ(s.finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(s.text, "he");
}

TEST(SamplingTest, TheSeedDecides) {
  const auto sample = [](uint64_t seed, const std::vector<Ids>& prompts) {
    auto request = request_for(
        prompts, R"({"do_sample": true, "max_new_tokens": 16, "num_return_sequences": 3})");
    request.config.seed = seed;
    return tokens_of(run(request));
  };
  const auto first = sample(1, kPrompts);
  EXPECT_EQ(sample(1, kPrompts), first);
  EXPECT_NE(sample(2, kPrompts), first);
  EXPECT_EQ(std::set<Ids>(first.begin(), first.end()).size(), first.size()) << "equal samples";
  // Sequences have random numbers of their own: other neighbours, same sample.
  auto others = sample(1, {kPrompts[0], {2, 2, 2}, kPrompts[2]});
  EXPECT_EQ(Ids(others[1]), first[1]);
  EXPECT_EQ(Ids(others[7]), first[7]);
}

TEST(SamplingTest, ReturnedSequencesShareThePrefillAndAreIndependent) {
  FakeLm model;
  const auto result = generate(
      model, request_for({{1, 2, 3}},
                         R"({"do_sample": true, "num_return_sequences": 5, "max_new_tokens": 4})"));
  EXPECT_EQ(model.step_tokens, (std::vector<int64_t>{3, 5, 5, 5}));
  for (const SequenceResult& s : result.sequences) EXPECT_EQ(s.tokens.size(), 4u);
}

TEST(SamplingTest, FirstTokensFollowTheModelsDistribution) {
  constexpr int64_t kDraws = 8000;
  auto request = request_for(
      {{4, 2}}, R"({"do_sample": true, "temperature": 2.0, "top_k": 6, "max_new_tokens": 1})");
  request.config.num_return_sequences = kDraws;
  std::vector<float> logits(24);
  fake_logits(request.prompts[0], logits);
  std::vector<double> expected(24);
  std::vector<float> sorted = logits;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  double total = 0;
  for (size_t i = 0; i < 24; ++i)
    total += expected[i] = logits[i] < sorted[5] ? 0 : std::exp(logits[i] / 2.0);
  std::vector<int> counts(24);
  for (const auto& s : run(request).sequences) ++counts[static_cast<size_t>(s.tokens[0])];
  double chi_squared = 0;
  for (size_t i = 0; i < 24; ++i) {
    const double e = expected[i] / total * kDraws;
    if (e == 0) {
      EXPECT_EQ(counts[i], 0);
    } else {
      chi_squared += (counts[i] - e) * (counts[i] - e) / e;
    }
  }
  EXPECT_LT(chi_squared, 20.5);  // 5 degrees of freedom: exceeded once in a thousand seeds
}

TEST(BeamSearchTest, ScoresAreTheModelsLogProbabilities) {
  const auto result =
      run(request_for(kPrompts, R"({"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 7,
                                                    "length_penalty": 0.0, "eos_token_id": 3, "logprobs": 1})"));
  for (size_t i = 0; i < result.sequences.size(); ++i) {
    const SequenceResult& s = result.sequences[i];
    ASSERT_EQ(s.logprobs.size(), s.tokens.size());
    float sum = 0;
    for (const TokenLogprobs& lp : s.logprobs) sum += lp.logprob;
    EXPECT_NEAR(s.score, sum, 1e-4);
    if (i % 4 > 0) {
      EXPECT_LE(s.score, result.sequences[i - 1].score);
      EXPECT_NE(s.tokens, result.sequences[i - 1].tokens);
    }
  }
}

TEST(BeamSearchTest, FindsWhatGreedySearchFindsOrBetter) {
  const auto score = [](const char* kwargs) {
    std::vector<float> sums;
    for (const SequenceResult& s : run(request_for(kPrompts, kwargs)).sequences) {
      sums.push_back(0);
      for (const TokenLogprobs& lp : s.logprobs) sums.back() += lp.logprob;
    }
    return sums;
  };
  const auto greedy = score(R"({"max_new_tokens": 6, "logprobs": 0})");
  const auto beams = score(R"({"max_new_tokens": 6, "logprobs": 0, "num_beams": 6})");
  for (size_t i = 0; i < greedy.size(); ++i) EXPECT_GE(beams[i], greedy[i] - 1e-5);
}

TEST(BeamSearchTest, StopStringsEndBeams) {
  auto request =
      request_for(kPrompts, R"({"num_beams": 3, "max_new_tokens": 30, "length_penalty": 0.0,
                                           "stop_strings": ["a", "b", "c", "d", "e"]})");
  request.make_text_decoder = letters;
  const auto result = run(request);
  // A stop string of one letter is an eos id in other words, but for the number of candidates.
  const auto by_eos =
      run(request_for(kPrompts, R"({"num_beams": 3, "max_new_tokens": 30, "length_penalty": 0.0,
                                                    "eos_token_id": [0, 1, 2, 3, 4]})"));
  EXPECT_EQ(tokens_of(result), tokens_of(by_eos));
  for (const SequenceResult& s : result.sequences) {
    EXPECT_EQ(s.finish_reason, FinishReason::kStopString);
    EXPECT_EQ(s.stop_string, std::string(1, static_cast<char>('a' + s.tokens.back())));
  }
}

TEST(BeamSearchTest, BeamSamplingFollowsItsSeedAndVaries) {
  const auto sample = [](uint64_t seed) {
    auto request = request_for(
        kPrompts, R"({"do_sample": true, "num_beams": 3, "num_return_sequences": 2, "top_k": 8,
                                             "max_new_tokens": 8, "eos_token_id": [1, 2]})");
    request.config.seed = seed;
    return tokens_of(run(request));
  };
  EXPECT_EQ(sample(5), sample(5));
  EXPECT_NE(sample(5), sample(6));
}

TEST(BeamSearchTest, StreamingIsRefused) {
  auto request = request_for(kPrompts, R"({"num_beams": 2})");
  request.on_token = [](int64_t, int64_t, const TokenLogprobs*) { return true; };
  EXPECT_NE(error_of(request).find("num_beams 2"), std::string::npos);
}

TEST(PaddedSequencesTest, FillWithPadOrEosOnBothSides) {
  auto request = request_for({{7}, {5, 6}}, R"({"eos_token_id": [3, 4]})");
  GenerationResult result;
  result.sequences.resize(2);
  result.sequences[0].tokens = {8, 9, 3};
  result.sequences[1].tokens = {4};
  EXPECT_EQ(padded_sequences(request, result),
            (std::vector<Ids>{{3, 7, 8, 9, 3}, {5, 6, 4, 3, 3}}));
  request.config.pad_token_id = 2;
  EXPECT_EQ(padded_sequences(request, result),
            (std::vector<Ids>{{2, 7, 8, 9, 3}, {5, 6, 4, 2, 2}}));
  request.config.pad_token_id.reset();
  request.config.eos_token_id.clear();
  EXPECT_THROW(padded_sequences(request, result), Error);
}

}  // namespace
}  // namespace dsv3::generation
