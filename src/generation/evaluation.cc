#include "generation/evaluation.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>

#include "base/error.h"
#include "base/thread_pool.h"
#include "generation/row_math.h"
#include "model/deepseek_v3.h"
#include "model/pretrained.h"

namespace dsv3::generation {
namespace {

constexpr int64_t kLogitsBytes = 64 << 20;

void check_ids(std::span<const int64_t> ids, int64_t vocab_size) {
  for (const int64_t id : ids) {
    if (id < 0 || id >= vocab_size) {
      fail("token id {} is outside the vocabulary: expected 0 to {}", id, vocab_size - 1);
    }
  }
}

TokenScore score_of(std::span<const float> logits, int64_t target) {
  const LogSoftmax normalise = log_softmax(logits);
  const float logit = logits[static_cast<size_t>(target)];
  return {normalise(logit), logit >= normalise.max};
}

}  // namespace

/// A part of a job that one forward pass takes.
struct TokenScorer::Piece {
  model::LatentCache* cache = nullptr;
  std::span<const int64_t> tokens;
  std::span<const int64_t> targets;  // of the last tokens
  size_t first_score = 0;            // where the targets' scores go
};

TokenScorer::TokenScorer(DeepseekV3ForCausalLM model, int64_t batch_tokens, DType cache_dtype)
    : model_(std::move(model)), batch_tokens_(batch_tokens), cache_dtype_(cache_dtype) {
  if (batch_tokens < 1) fail("batch_tokens is {}: expected at least 1", batch_tokens);
}

model::LatentCache TokenScorer::new_cache() const {
  const DeepseekV3Config& c = config();
  return {c.num_hidden_layers, model::latent_layout(c, cache_dtype_)};
}

std::vector<TokenScore> TokenScorer::score(std::span<const ScoringJob> jobs) {
  size_t n_targets = 0;
  for (const ScoringJob& job : jobs) {
    check_ids(job.tokens, config().vocab_size);
    check_ids(job.targets, config().vocab_size);
    n_targets += job.targets.size();
  }
  std::vector<TokenScore> scores(n_targets);

  std::vector<Piece> pieces;
  std::vector<std::unique_ptr<model::LatentCache>> fresh;  // of the jobs under way
  int64_t room = batch_tokens_;
  size_t first_score = 0;
  for (const ScoringJob& job : jobs) {
    model::LatentCache* cache = job.cache;
    if (cache == nullptr) {
      cache = fresh.emplace_back(std::make_unique<model::LatentCache>(new_cache())).get();
    }
    const size_t first_target = job.tokens.size() - job.targets.size();
    for (size_t begin = 0; begin < job.tokens.size();) {
      const size_t end = std::min(job.tokens.size(), begin + static_cast<size_t>(room));
      const size_t target_begin = std::max(begin, first_target) - first_target;
      const size_t target_end = std::max(end, first_target) - first_target;
      pieces.push_back({cache, job.tokens.subspan(begin, end - begin),
                        job.targets.subspan(target_begin, target_end - target_begin),
                        first_score + target_begin});
      room -= static_cast<int64_t>(end - begin);
      begin = end;
      if (room > 0) continue;
      run(pieces, scores);
      pieces.clear();
      room = batch_tokens_;
      // A job that goes on in the next pass keeps its cache.
      const bool goes_on = job.cache == nullptr && begin < job.tokens.size();
      fresh.erase(fresh.begin(), fresh.end() - (goes_on ? 1 : 0));
    }
    first_score += job.targets.size();
  }
  if (!pieces.empty()) run(pieces, scores);
  return scores;
}

void TokenScorer::run(std::span<const Piece> pieces, std::vector<TokenScore>& scores) {
  const model::LoadedModel& loaded = model_.loaded();
  const int64_t hidden_size = loaded.config.hidden_size, vocab_size = loaded.config.vocab_size;
  std::vector<model::BatchSequence> sequences;
  std::vector<int64_t> ids, positions;
  struct Target {
    int64_t row, id;
    size_t score;
  };
  std::vector<Target> targets;
  for (const Piece& piece : pieces) {
    sequences.push_back({piece.cache, static_cast<int64_t>(piece.tokens.size())});
    for (size_t i = 0; i < piece.tokens.size(); ++i) {
      ids.push_back(piece.tokens[i]);
      positions.push_back(piece.cache->length() + static_cast<int64_t>(i));
    }
    const size_t first_row = ids.size() - piece.targets.size();
    for (size_t i = 0; i < piece.targets.size(); ++i) {
      targets.push_back(
          {static_cast<int64_t>(first_row + i), piece.targets[i], piece.first_score + i});
    }
  }

  const auto tokens = static_cast<int64_t>(ids.size());
  std::vector<float> memory(static_cast<size_t>(2 * tokens * hidden_size));
  const Matrix x(memory.data(), tokens, hidden_size);
  const Matrix hidden(x.row(tokens), tokens, hidden_size);
  model::embed_tokens(loaded.weights, ids, x);
  model::forward(loaded.config, loaded.weights, loaded.options,
                 {.sequences = sequences, .positions = positions, .embeddings = x}, hidden);

  // The head in parts: all logits of a vocabulary of 129280 would take 0.5 MB a token.
  const auto n = static_cast<int64_t>(targets.size());
  const int64_t rows_at_once = std::clamp<int64_t>(
      kLogitsBytes / (vocab_size * int64_t{sizeof(float)}), 1, std::max<int64_t>(n, 1));
  std::vector<float> logits(static_cast<size_t>(rows_at_once * vocab_size));
  for (int64_t begin = 0; begin < n; begin += rows_at_once) {
    const int64_t count = std::min(rows_at_once, n - begin);
    // The embeddings are done with; rows with a target are gathered in their place.
    for (int64_t i = 0; i < count; ++i) {
      std::copy_n(hidden.row(targets[static_cast<size_t>(begin + i)].row), hidden_size, x.row(i));
    }
    const Matrix out(logits.data(), count, vocab_size);
    model::lm_head(loaded.weights.lm_head, loaded.options, x.row_range(0, count), out);
    thread_pool().parallel_for(count, [&](int64_t i) {
      const Target& target = targets[static_cast<size_t>(begin + i)];
      const std::span<const float> row(out.row(i), static_cast<size_t>(vocab_size));
      scores[target.score] = score_of(row, target.id);
      if (!std::isfinite(scores[target.score].logprob)) {
        fail(
            "the model's logits are not finite: there is a NaN, an infinity or an overflow in the "
            "weights (`dsv3 verify MODEL` names the tensor)");
      }
    });
  }
}

double TextLoss::perplexity() const { return std::exp(cross_entropy()); }

std::optional<double> TextLoss::bits_per_byte() const {
  if (bytes == 0) return std::nullopt;
  return nats / std::numbers::ln2 / static_cast<double>(bytes);
}

TextLoss evaluate_text(TokenScorer& scorer, std::span<const int64_t> ids,
                       const WindowOptions& options, const Tokenizer* tokenizer,
                       const EvaluationProgress& progress) {
  const int64_t context = scorer.config().max_position_embeddings;
  const int64_t window = options.window == 0 ? context : options.window;
  const int64_t stride = options.stride == 0 ? window : options.stride;
  if (window < 1 || window > context) {
    fail("a window of {} tokens: expected 1 to {} (max_position_embeddings)", window, context);
  }
  if (stride < 1 || stride > window) {
    fail("a stride of {} tokens: expected 1 to {}, the window", stride, window);
  }
  const auto n = static_cast<int64_t>(ids.size());
  if (n < 2) fail("a text of {} token{}: there is nothing to predict", n, n == 1 ? "" : "s");

  TextLoss loss;
  std::vector<ScoringJob> jobs;
  int64_t jobs_tokens = 0;
  int64_t predicted = 1;  // ids before this one have been predicted, or come first
  const auto run = [&] {
    for (const TokenScore& s : scorer.score(jobs)) {
      loss.nats -= static_cast<double>(s.logprob);
      loss.likeliest += s.is_likeliest ? 1 : 0;
    }
    jobs.clear();
    jobs_tokens = 0;
    if (progress) progress(predicted - 1, n - 1);
  };
  for (int64_t begin = 0; predicted < n; begin += stride) {
    const int64_t end = std::min(begin + window, n - 1);
    const std::span<const int64_t> targets =
        ids.subspan(static_cast<size_t>(predicted), static_cast<size_t>(end + 1 - predicted));
    jobs.push_back({nullptr,
                    ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)),
                    targets});
    jobs_tokens += end - begin;
    predicted = end + 1;
    ++loss.windows;
    loss.tokens += static_cast<int64_t>(targets.size());
    if (tokenizer != nullptr) {
      for (const int64_t id : targets) {
        if (!tokenizer->is_special(id)) {
          loss.bytes += static_cast<int64_t>(tokenizer->token_bytes(id).size());
        }
      }
    }
    if (jobs_tokens + window > scorer.batch_tokens()) run();
  }
  if (!jobs.empty()) run();
  return loss;
}

TextLoss evaluate_second_halves(TokenScorer& scorer, std::span<const int64_t> ids, int64_t window,
                                std::optional<int64_t> bos, const EvaluationProgress& progress) {
  const int64_t context = scorer.config().max_position_embeddings;
  if (window == 0) window = context;
  if (window < 4 || window > context) {
    fail("a window of {} tokens: expected 4 to {} (max_position_embeddings)", window, context);
  }
  const int64_t windows = static_cast<int64_t>(ids.size()) / window;
  if (windows == 0) fail("a text of {} tokens does not fill a window of {}", ids.size(), window);
  TextLoss loss;
  for (int64_t w = 0; w < windows; ++w) {
    const auto all = ids.subspan(static_cast<size_t>(w * window), static_cast<size_t>(window));
    std::vector<int64_t> inputs(all.begin(), all.end() - 1);
    if (bos) inputs[0] = *bos;
    const auto targets = all.subspan(static_cast<size_t>(window / 2 + 1));
    const ScoringJob job{nullptr, inputs, targets};
    for (const TokenScore& s : scorer.score({&job, 1})) {
      loss.nats -= static_cast<double>(s.logprob);
      loss.likeliest += s.is_likeliest ? 1 : 0;
    }
    loss.tokens += static_cast<int64_t>(targets.size());
    ++loss.windows;
    if (progress) progress(w + 1, windows);
  }
  return loss;
}

}  // namespace dsv3::generation
