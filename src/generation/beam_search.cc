#include "generation/beam_search.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "generation/prefill.h"
#include "generation/random.h"
#include "generation/row_math.h"
#include "generation/scoring.h"

namespace dsv3::generation {
namespace {

/// What the reference adds to a score to put it out of the race. All scores are float32, in which a
/// log-probability added to this is lost; ties among such scores are its as well as ours.
constexpr float kOut = -1.0e9f;

/// The search for one prompt.
class BeamSearch {
 public:
  BeamSearch(const GenerationRequest& request, const Prompt& prompt, size_t index,
             std::unique_ptr<SequenceState> state)
      : request_(request), config_(request.config), prompt_(prompt), index_(index) {
    const size_t num_beams = static_cast<size_t>(config_.num_beams);
    // All beams begin with the prompt. Only the first may be continued, or all would become the
    // same.
    running_.assign(num_beams, {prompt.padded_row, kOut});
    running_[0].score = 0;
    best_.resize(num_beams);
    states_.push_back(std::move(state));
  }

  /// One step for each beam; after the prompt one row of logits serves all beams.
  void add_steps(std::vector<Step>& steps) {
    for (size_t b = 0; b < states_.size(); ++b) {
      steps.push_back({states_[b].get(), std::span(running_[b].history).last(1)});
    }
  }
  size_t rows() const { return states_.size(); }

  /// Makes log-probabilities, changed as the config asks, of beam `b`'s row of logits. Rows may be
  /// processed at the same time.
  void process_row(size_t b, std::span<float> row) const {
    log_softmax_in_place(row);
    process_scores(config_, {running_[b].history, width()}, prompt_.max_length, row,
                   fmt::format("prompt {}, beam {}", index_, b));
  }

  /// Takes the processed rows [rows(), vocab_size], and the logits they were made of if
  /// log-probabilities are asked for.
  void advance(std::span<const float> scores, std::span<const float> logits, bool out_of_time) {
    std::vector<Candidate> candidates = best_candidates(scores);
    for (Candidate& c : candidates) c.finish_reason = judge(c, out_of_time);
    update_best(candidates, logits);
    const bool all_hit = std::all_of(candidates.begin(), candidates.end(), [](const Candidate& c) {
      return c.finish_reason.has_value();
    });
    std::vector<Beam> next = next_beams(candidates, logits);
    can_improve_ = can_improve_ && could_improve(next);
    const bool enough = config_.early_stopping == EarlyStopping::kTrue && all_best_finished();
    done_ = !can_improve_ || enough || all_hit;
    if (done_) {
      states_.clear();
    } else {
      reorder_states(next);
    }
    running_ = std::move(next);
  }

  bool done() const { return done_; }

  /// The best `num_return_sequences`, best first.
  void store_results(std::span<SequenceResult> results) {
    for (size_t i = 0; i < results.size(); ++i) {
      Hypothesis& h = best_[i];
      results[i].tokens = std::move(h.tokens);
      results[i].logprobs = std::move(h.logprobs);
      results[i].finish_reason = h.finish_reason;
      results[i].score = h.score;
      add_text(results[i]);
    }
  }

 private:
  /// A sequence that may go on.
  struct Beam {
    std::vector<int64_t> history;  // padded prompt, then new tokens
    float score = 0;               // sum of log-probabilities
    std::vector<TokenLogprobs> logprobs;
    size_t parent = 0;  // beam of the step before
  };
  /// A place among the best sequences, which may still be free.
  struct Hypothesis {
    std::vector<int64_t> tokens;
    float score = kOut;  // length penalty applied
    bool finished = false;
    FinishReason finish_reason = FinishReason::kLength;
    std::vector<TokenLogprobs> logprobs;
  };
  /// A beam and the token it might go on with.
  struct Candidate {
    size_t parent = 0;
    int64_t token = 0;
    float score = 0;  // sum of log-probabilities, the token's included
    std::optional<FinishReason> finish_reason;
  };

  size_t width() const { return prompt_.padded_row.size(); }
  size_t generated() const { return running_[0].history.size() - width(); }
  /// The rows of all beams are one after the prompt.
  size_t row_of(size_t beam) const { return states_.size() == 1 ? 0 : beam; }
  float penalised(float score, int64_t length) const {
    return score /
           static_cast<float>(std::pow(static_cast<double>(length), config_.length_penalty));
  }
  bool all_best_finished() const {
    return std::all_of(best_.begin(), best_.end(), [](const Hypothesis& h) { return h.finished; });
  }

  /// The best continuations of all beams, so many that num_beams are left should all eos ids be
  /// among them; with do_sample they are drawn without replacement, and are in the order of the
  /// draw.
  std::vector<Candidate> best_candidates(std::span<const float> scores) const {
    const int64_t num_beams = config_.num_beams;
    const int64_t vocab_size = static_cast<int64_t>(scores.size() / states_.size());
    const int64_t eos_ids = static_cast<int64_t>(config_.eos_token_id.size());
    const int64_t wanted = std::max<int64_t>(2, 1 + eos_ids) * num_beams;
    const auto score = [&](int64_t i) {
      const size_t beam = static_cast<size_t>(i / vocab_size);
      return scores[row_of(beam) * static_cast<size_t>(vocab_size) +
                    static_cast<size_t>(i % vocab_size)] +
             running_[beam].score;
    };
    // The largest of log p + Gumbel noise are a sample without replacement (Gumbel-top-k).
    const auto noisy_score = [&](int64_t i) {
      const float s = score(i);
      if (s == kMinusInfinity) return s;
      const double u = uniform(config_.seed, index_, static_cast<uint32_t>(generated()),
                               static_cast<uint32_t>(i));
      return static_cast<float>(s - std::log(-std::log(u)));
    };
    const int64_t n = num_beams * vocab_size;
    const auto top =
        config_.do_sample ? top_k_of(n, wanted, noisy_score) : top_k_of(n, wanted, score);
    std::vector<Candidate> candidates;
    for (const auto& item : top) {
      const int64_t i = item.second;
      candidates.push_back({static_cast<size_t>(i / vocab_size), i % vocab_size, score(i)});
    }
    return candidates;
  }

  /// Why the sequence ends with this token, if it does.
  std::optional<FinishReason> judge(const Candidate& c, bool out_of_time) const {
    if (is_eos(config_, c.token)) return FinishReason::kStop;
    if (!config_.stop_strings.empty()) {
      StopStringMatcher matcher(config_.stop_strings);
      const TextDecoder decoder = request_.make_text_decoder();
      const auto& history = running_[c.parent].history;
      for (size_t i = width(); i < history.size(); ++i) matcher.push(decoder.push(history[i]));
      matcher.push(decoder.push(c.token));
      if (matcher.stopped()) return FinishReason::kStopString;
    }
    const int64_t length = static_cast<int64_t>(running_[c.parent].history.size()) + 1;
    if (length >= prompt_.max_length || out_of_time) return FinishReason::kLength;
    return std::nullopt;
  }

  /// Beams of the next step: the best candidates that do not end.
  std::vector<Beam> next_beams(const std::vector<Candidate>& candidates,
                               std::span<const float> logits) const {
    const auto score = [&](int64_t i) {
      const Candidate& c = candidates[static_cast<size_t>(i)];
      return c.finish_reason ? c.score + kOut : c.score;
    };
    std::vector<Beam> next;
    for (const auto& [s, i] :
         top_k_of(static_cast<int64_t>(candidates.size()), config_.num_beams, score)) {
      const Candidate& c = candidates[static_cast<size_t>(i)];
      Beam& beam = next.emplace_back(running_[c.parent]);
      beam.history.push_back(c.token);
      beam.score = s;
      beam.parent = c.parent;
      if (config_.logprobs) beam.logprobs.push_back(logprobs_of(c, logits));
    }
    return next;
  }

  /// Sequences that have just ended compete with the best so far. Only the first num_beams
  /// candidates may; the others are there so that the search can go on.
  void update_best(const std::vector<Candidate>& candidates, std::span<const float> logits) {
    const int64_t length = static_cast<int64_t>(generated()) + 1;
    const bool full = config_.early_stopping == EarlyStopping::kTrue && all_best_finished();
    const size_t places = best_.size();
    std::vector<float> scores;
    for (const Hypothesis& h : best_) scores.push_back(h.score);
    for (size_t i = 0; i < candidates.size(); ++i) {
      float score = penalised(candidates[i].score, length);
      if (full) score += kOut;
      if (!can_improve_) score += kOut;
      if (!may_be_best(candidates, i)) score += kOut;
      scores.push_back(score);
    }
    std::vector<Hypothesis> best;
    for (const auto& [score, index] : top_k_of(scores, config_.num_beams)) {
      const size_t i = static_cast<size_t>(index);
      if (i < places) {
        best.push_back(std::move(best_[i]));
        continue;
      }
      const Candidate& c = candidates[i - places];
      const Beam& parent = running_[c.parent];
      Hypothesis& h = best.emplace_back();
      h.tokens.assign(parent.history.begin() + static_cast<std::ptrdiff_t>(width()),
                      parent.history.end());
      h.tokens.push_back(c.token);
      h.score = score;
      h.finished = may_be_best(candidates, i - places);
      h.finish_reason = c.finish_reason.value_or(FinishReason::kLength);
      if (config_.logprobs) {
        h.logprobs = parent.logprobs;
        h.logprobs.push_back(logprobs_of(c, logits));
      }
    }
    best_ = std::move(best);
  }
  bool may_be_best(const std::vector<Candidate>& candidates, size_t i) const {
    return candidates[i].finish_reason.has_value() && i < static_cast<size_t>(config_.num_beams);
  }

  /// Whether the best of the running beams might yet beat the worst of the finished ones. Without a
  /// length penalty scores only fall, so then this is certain; otherwise it is the reference's
  /// guess.
  bool could_improve(const std::vector<Beam>& next) const {
    const int64_t longest = prompt_.max_new_tokens();
    const int64_t length = static_cast<int64_t>(generated()) + 1;
    const bool favours_longest =
        config_.early_stopping == EarlyStopping::kNever && config_.length_penalty > 0;
    const float possible = penalised(next[0].score, favours_longest ? longest : length);
    float worst = best_[0].score;
    for (const Hypothesis& h : best_) worst = std::min(worst, h.score);
    return std::any_of(best_.begin(), best_.end(),
                       [&](const Hypothesis& h) { return possible > (h.finished ? worst : kOut); });
  }

  /// Each beam gets its parent's state: the last of several children takes it, the others a clone.
  void reorder_states(const std::vector<Beam>& next) {
    std::vector<size_t> children(states_.size());
    for (const Beam& beam : next) ++children[row_of(beam.parent)];
    std::vector<std::unique_ptr<SequenceState>> states;
    for (const Beam& beam : next) {
      auto& state = states_[row_of(beam.parent)];
      states.push_back(--children[row_of(beam.parent)] > 0 ? state->clone() : std::move(state));
    }
    states_ = std::move(states);
  }

  TokenLogprobs logprobs_of(const Candidate& c, std::span<const float> logits) const {
    const size_t vocab_size = logits.size() / states_.size();
    return token_logprobs(logits.subspan(row_of(c.parent) * vocab_size, vocab_size), c.token,
                          *config_.logprobs);
  }

  void add_text(SequenceResult& result) const {
    if (!request_.make_text_decoder) return;
    StopStringMatcher matcher(config_.stop_strings, request_.include_stop_string);
    const TextDecoder decoder = request_.make_text_decoder();
    for (const int64_t token : result.tokens) {
      if (!is_eos(config_, token)) result.text += matcher.push(decoder.push(token));
    }
    if (decoder.flush) result.text += matcher.push(decoder.flush());
    result.text += matcher.flush();
    if (matcher.stopped()) {
      result.stop_string = matcher.stop_string();
      result.finish_reason = FinishReason::kStopString;
    }
  }

  const GenerationRequest& request_;
  const GenerationConfig& config_;
  const Prompt& prompt_;
  size_t index_;
  std::vector<Beam> running_;  // [num_beams]
  std::vector<std::unique_ptr<SequenceState>>
      states_;                    // of running_, or one for all after the prompt
  std::vector<Hypothesis> best_;  // [num_beams], best first
  bool can_improve_ = true;
  bool done_ = false;
};

}  // namespace

GenerationResult beam_search(CausalLm& model, const GenerationRequest& request,
                             std::span<const Prompt> prompts, const Deadline& deadline) {
  const size_t vocab_size = static_cast<size_t>(model.vocab_size());
  const size_t returned = static_cast<size_t>(request.config.num_return_sequences);
  GenerationResult result;
  result.sequences.resize(prompts.size() * returned);

  // Searches by prompt; those that have ended (or had no room to begin) are null.
  std::vector<std::unique_ptr<BeamSearch>> searches(prompts.size());
  std::vector<float> originals;
  const auto step = [&](size_t prompt, std::span<const float> scores,
                        std::span<const float> logits) {
    BeamSearch& search = *searches[prompt];
    search.advance(scores, logits, deadline.passed());
    if (!search.done()) return;
    search.store_results(std::span(result.sequences).subspan(prompt * returned, returned));
    searches[prompt].reset();
  };

  prefill(model, prompts, request.prefill_chunk,
          [&](size_t prompt, std::unique_ptr<SequenceState> state, std::span<float> logits) {
            searches[prompt] =
                std::make_unique<BeamSearch>(request, prompts[prompt], prompt, std::move(state));
            if (request.config.logprobs) originals.assign(logits.begin(), logits.end());
            searches[prompt]->process_row(0, logits);
            step(prompt, logits, originals);
          });

  struct Row {
    size_t prompt, beam;
  };
  std::vector<Step> steps;
  std::vector<Row> rows;
  std::vector<float> logits;
  for (;;) {
    steps.clear();
    rows.clear();
    for (size_t p = 0; p < searches.size(); ++p) {
      if (!searches[p]) continue;
      searches[p]->add_steps(steps);
      for (size_t b = 0; b < searches[p]->rows(); ++b) rows.push_back({p, b});
    }
    if (steps.empty()) return result;
    logits.resize(steps.size() * vocab_size);
    model.forward(steps, logits);
    if (request.config.logprobs) originals = logits;
    thread_pool().parallel_for(static_cast<int64_t>(rows.size()), [&](int64_t i) {
      const auto [prompt, beam] = rows[static_cast<size_t>(i)];
      searches[prompt]->process_row(
          beam, std::span(logits).subspan(static_cast<size_t>(i) * vocab_size, vocab_size));
    });
    for (size_t begin = 0; begin < rows.size();) {
      const size_t prompt = rows[begin].prompt;
      const size_t count = searches[prompt]->rows() * vocab_size;
      const size_t next = begin + searches[prompt]->rows();
      const auto part = [&](std::span<const float> all) {
        return all.empty() ? all : all.subspan(begin * vocab_size, count);
      };
      step(prompt, part(logits),
           part(request.config.logprobs ? std::span<const float>(originals)
                                        : std::span<const float>()));
      begin = next;
    }
  }
}

}  // namespace dsv3::generation
