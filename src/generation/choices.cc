// Multiple choice by log-likelihood, as evaluation harnesses do it.

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "base/json.h"
#include "generation/evaluation.h"

namespace dsv3::generation {
namespace {

/// White space of ASCII: what benchmarks' contexts end in.
constexpr std::string_view kSpaces = " \t\n\r\v\f";

std::string text_field(const Json& value, const std::string& where, const char* name) {
  if (!value.is_string()) fail("{}: {}: expected a text, found {}", where, name, value.dump());
  return value.get<std::string>();
}

/// One choice of an item of the group under way.
struct Continuation {
  size_t item, choice;
  EncodedContinuation text;
};

/// At most max_length tokens are fed, the last continuation token not being among them.
void cut_left(EncodedContinuation& text, int64_t max_length, const std::string& choice) {
  const auto total = static_cast<int64_t>(text.context.size() + text.continuation.size());
  const int64_t surplus = total - (max_length + 1);
  if (surplus <= 0) return;
  if (surplus >= static_cast<int64_t>(text.context.size())) {
    fail("the choice '{}...' has {} tokens, more than the context of {}", choice.substr(0, 40),
         text.continuation.size(), max_length);
  }
  text.context.erase(text.context.begin(), text.context.begin() + surplus);
}

/// Questions whose tokens fit into a few forward passes, and their choices.
class Group {
 public:
  explicit Group(TokenScorer& scorer) : scorer_(scorer) {}

  bool empty() const { return continuations_.empty(); }
  int64_t tokens() const { return tokens_; }

  void add(Continuation continuation) {
    // Neighbours with the same context share what comes before its last token; that one is fed
    // with each choice, since its row predicts the choice's first token.
    const std::vector<int64_t>& context = continuation.text.context;
    if (empty() || continuations_.back().text.context != context) {
      first_with_context_.push_back(continuations_.size());
      tokens_ += static_cast<int64_t>(context.size());
    }
    tokens_ += static_cast<int64_t>(continuation.text.continuation.size());
    continuations_.push_back(std::move(continuation));
  }

  void score_into(std::vector<ChoiceScore>& scores) {
    std::vector<model::LatentCache> contexts;
    for (size_t i = 0; i < first_with_context_.size(); ++i) contexts.push_back(scorer_.new_cache());
    std::vector<ScoringJob> jobs;
    for (size_t i = 0; i < contexts.size(); ++i) {
      const std::span<const int64_t> ids = continuations_[first_with_context_[i]].text.context;
      if (ids.size() > 1) jobs.push_back({&contexts[i], ids.first(ids.size() - 1), {}});
    }
    scorer_.score(jobs);

    std::vector<model::LatentCache> caches;
    std::vector<std::vector<int64_t>> inputs;
    caches.reserve(continuations_.size());
    inputs.reserve(continuations_.size());
    jobs.clear();
    size_t context = 0;
    for (size_t i = 0; i < continuations_.size(); ++i) {
      if (context + 1 < contexts.size() && first_with_context_[context + 1] == i) ++context;
      const EncodedContinuation& text = continuations_[i].text;
      caches.push_back(contexts[context]);
      std::vector<int64_t>& input = inputs.emplace_back();
      input.push_back(text.context.back());
      input.insert(input.end(), text.continuation.begin(), text.continuation.end() - 1);
      jobs.push_back({&caches.back(), input, text.continuation});
    }
    const std::vector<TokenScore> found = scorer_.score(jobs);
    size_t at = 0;
    for (const Continuation& c : continuations_) {
      double logprob = 0;
      bool is_greedy = true;
      for (size_t i = 0; i < c.text.continuation.size(); ++i, ++at) {
        logprob += static_cast<double>(found[at].logprob);
        is_greedy = is_greedy && found[at].is_likeliest;
      }
      scores[c.item].logprobs[c.choice] = logprob;
      scores[c.item].is_greedy[c.choice] = is_greedy;
    }
    continuations_.clear();
    first_with_context_.clear();
    tokens_ = 0;
  }

 private:
  TokenScorer& scorer_;
  std::vector<Continuation> continuations_;
  std::vector<size_t> first_with_context_;  // indices of continuations
  int64_t tokens_ = 0;
};

void choose(ChoiceScore& score, const ChoiceItem& item) {
  const auto per_byte = [&](size_t i) {
    return score.logprobs[i] / static_cast<double>(std::max<size_t>(item.choices[i].size(), 1));
  };
  size_t best = 0, best_normalised = 0;
  for (size_t i = 1; i < item.choices.size(); ++i) {
    if (score.logprobs[i] > score.logprobs[best]) best = i;
    if (per_byte(i) > per_byte(best_normalised)) best_normalised = i;
  }
  score.chosen = static_cast<int64_t>(best);
  score.chosen_normalised = static_cast<int64_t>(best_normalised);
}

}  // namespace

ChoiceItem parse_choice_item(const std::string& line, const std::string& where) {
  const Json json = parse_json(line, where);
  if (!json.is_object()) fail("{}: expected an object, found {}", where, line.substr(0, 100));
  ChoiceItem item;
  const char* name = json.contains("context") ? "context" : "question";
  if (!json.contains(name)) fail("{}: expected \"context\" or \"question\"", where);
  item.context = text_field(json[name], where, name);
  const Json choices = json.value("choices", Json());
  if (!choices.is_array() || choices.empty()) fail("{}: choices: expected a list of texts", where);
  for (const Json& choice : choices) {
    item.choices.push_back(text_field(choice, where, "choices"));
    if (item.choices.back().empty()) fail("{}: choices: one is empty", where);
  }
  const Json answer = json.value("answer", Json());
  if (!answer.is_number_integer() || answer.get<int64_t>() < 0 ||
      answer.get<int64_t>() >= static_cast<int64_t>(item.choices.size())) {
    fail("{}: answer: expected the index of a choice, 0 to {}, found {}", where,
         item.choices.size() - 1, answer.dump());
  }
  item.answer = answer.get<int64_t>();
  return item;
}

EncodedContinuation encode_continuation(const Tokenizer& tokenizer, std::string context,
                                        std::string continuation, int64_t prefix_id) {
  const size_t last = context.find_last_not_of(kSpaces);
  const size_t length = last == std::string::npos ? 0 : last + 1;
  continuation.insert(0, context, length);
  context.resize(length);
  EncodedContinuation result;
  if (context.empty()) {
    result.context = {prefix_id};
    result.continuation = tokenizer.encode(continuation);
  } else {
    result.context = tokenizer.encode_prompt(context);
    const std::vector<int64_t> whole = tokenizer.encode_prompt(context + continuation);
    // Where the two grow together, the whole may even be shorter than the context; then its last
    // token stands for the continuation.
    const size_t begin = std::min(result.context.size(), whole.size() - 1);
    result.continuation.assign(whole.begin() + static_cast<std::ptrdiff_t>(begin), whole.end());
  }
  if (result.continuation.empty()) fail("the choice '{}' encodes to no token", continuation);
  return result;
}

std::vector<ChoiceScore> score_choices(TokenScorer& scorer, const Tokenizer& tokenizer,
                                       std::span<const ChoiceItem> items,
                                       const std::string& delimiter,
                                       const EvaluationProgress& progress) {
  const DeepseekV3Config& config = scorer.config();
  std::optional<int64_t> prefix = tokenizer.bos_token_id();
  if (!prefix) prefix = config.bos_token_id;
  if (!prefix && !config.eos_token_id.empty()) prefix = config.eos_token_id.front();

  std::vector<ChoiceScore> scores(items.size());
  Group group(scorer);
  for (size_t i = 0; i < items.size(); ++i) {
    const ChoiceItem& item = items[i];
    if (!prefix && item.context.find_last_not_of(kSpaces) == std::string::npos) {
      fail("an empty context needs a bos or eos token, and the model has none");
    }
    scores[i].logprobs.resize(item.choices.size());
    scores[i].is_greedy.resize(item.choices.size());
    for (size_t c = 0; c < item.choices.size(); ++c) {
      Continuation continuation{
          i, c,
          encode_continuation(tokenizer, item.context, delimiter + item.choices[c],
                              prefix.value_or(0))};
      cut_left(continuation.text, config.max_position_embeddings, item.choices[c]);
      group.add(std::move(continuation));
    }
    if (group.tokens() < scorer.batch_tokens() && i + 1 < items.size()) continue;
    group.score_into(scores);
    if (progress) progress(static_cast<int64_t>(i + 1), static_cast<int64_t>(items.size()));
  }
  for (size_t i = 0; i < items.size(); ++i) choose(scores[i], items[i]);
  return scores;
}

}  // namespace dsv3::generation
