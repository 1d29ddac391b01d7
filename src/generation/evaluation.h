#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dsv3/model.h"
#include "dsv3/tokenizer.h"
#include "model/latent_cache.h"

// How well a model predicts given tokens: cross-entropy of a text, and multiple choice by
// likelihood.
namespace dsv3::generation {

/// What the model thought of a token that was to come.
struct TokenScore {
  float logprob = 0;          ///< natural logarithm
  bool is_likeliest = false;  ///< greedy search would have taken it
};

/// Tokens of one sequence to feed, and the tokens that follow the last `targets.size()` of them.
struct ScoringJob {
  model::LatentCache* cache = nullptr;  ///< what the sequence holds already; null: nothing, fresh
  std::span<const int64_t> tokens;      ///< at least one
  std::span<const int64_t> targets;     ///< no more than tokens
};

/// Runs a causal LM over given tokens. Memory is bounded: at most `batch_tokens` tokens a forward
/// pass, cut anywhere in a sequence, and the head on so many rows as fit into some megabytes.
class TokenScorer {
 public:
  explicit TokenScorer(DeepseekV3ForCausalLM model, int64_t batch_tokens = 2048,
                       DType cache_dtype = DType::kF32);

  const DeepseekV3Config& config() const { return model_.config(); }
  int64_t batch_tokens() const { return batch_tokens_; }
  model::LatentCache new_cache() const;
  /// The scores of all targets, job after job. Jobs share forward passes, so no two may have the
  /// same cache. Throws Error for ids outside the vocabulary and logits that are not finite.
  std::vector<TokenScore> score(std::span<const ScoringJob> jobs);

 private:
  struct Piece;
  void run(std::span<const Piece> pieces, std::vector<TokenScore>& scores);

  DeepseekV3ForCausalLM model_;
  int64_t batch_tokens_;
  DType cache_dtype_;
};

/// Called now and then with how much is done.
using EvaluationProgress = std::function<void(int64_t done, int64_t total)>;

/// A loss summed over tokens.
struct TextLoss {
  int64_t tokens = 0;  ///< predicted ones
  int64_t windows = 0;
  double nats = 0;        ///< sum of -log p
  int64_t likeliest = 0;  ///< tokens that were the likeliest
  int64_t bytes = 0;      ///< text of the predicted tokens, special ones aside; 0: not known

  double cross_entropy() const { return nats / static_cast<double>(tokens); }
  double perplexity() const;
  /// Absent where `bytes` is 0.
  std::optional<double> bits_per_byte() const;
};

/// Windows of `window` input tokens every `stride` tokens, each a fresh sequence. A window predicts
/// the tokens that follow its inputs, but for those that a window before has predicted; so with
/// stride < window every prediction (but in the first window) sees at least window - stride tokens,
/// and every token but the first is predicted once.
struct WindowOptions {
  int64_t window = 0;  ///< 0: max_position_embeddings
  int64_t stride = 0;  ///< 0: window
};

/// The loss on `ids`, at least two. `tokenizer`, if not null, counts the bytes.
TextLoss evaluate_text(TokenScorer& scorer, std::span<const int64_t> ids,
                       const WindowOptions& options, const Tokenizer* tokenizer,
                       const EvaluationProgress& progress = {});

/// The loss as llama-perplexity takes it, to compare with its figures: windows of `window` tokens
/// one after the other, each a fresh sequence whose first token is replaced by `bos` if that is
/// given, and of each only the predictions of its second half; what does not fill a window is left
/// out. Throws Error for a text of less than one window.
TextLoss evaluate_second_halves(TokenScorer& scorer, std::span<const int64_t> ids, int64_t window,
                                std::optional<int64_t> bos,
                                const EvaluationProgress& progress = {});

/// A question and its possible answers.
struct ChoiceItem {
  std::string context;
  std::vector<std::string> choices;
  int64_t answer = 0;  ///< index of the right one
};

/// {"context" or "question": text, "choices": [text, ...], "answer": index}; `where` names the line
/// in errors. Other keys are ignored.
ChoiceItem parse_choice_item(const std::string& line, const std::string& where);

/// A context and one way to go on, as tokens. Both parts have at least one.
struct EncodedContinuation {
  std::vector<int64_t> context, continuation;
};

/// As lm-evaluation-harness does it: white space at the end of the context goes to the
/// continuation, the whole is encoded, and what is longer than the encoded context is the
/// continuation. The context is encoded as a prompt (BOS where the tokenizer asks for it); an empty
/// one is `prefix_id` (bos or else eos).
EncodedContinuation encode_continuation(const Tokenizer& tokenizer, std::string context,
                                        std::string continuation, int64_t prefix_id);

struct ChoiceScore {
  std::vector<double> logprobs;   ///< of each choice
  std::vector<bool> is_greedy;    ///< whether greedy search would have written it
  int64_t chosen = 0;             ///< with the largest log-probability
  int64_t chosen_normalised = 0;  ///< with the largest log-probability per byte of the choice
};

/// Scores all items. A question is fed once and its cache shared by its choices; several questions
/// share forward passes. `delimiter` stands between context and choice and does not count as bytes.
/// Too long a text loses tokens at its beginning.
std::vector<ChoiceScore> score_choices(TokenScorer& scorer, const Tokenizer& tokenizer,
                                       std::span<const ChoiceItem> items,
                                       const std::string& delimiter = " ",
                                       const EvaluationProgress& progress = {});

}  // namespace dsv3::generation
