#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dsv3/generation.h"
#include "generation/causal_lm.h"
#include "generation/prompts.h"

namespace dsv3::generation {

/// A sequence that is being generated, without beams: its tokens, its text, and whether it goes on.
/// For each row of logits call `choose`, then `append`. A scheduler that batches requests
/// continuously can use it just as `generate` does.
class Sequence {
 public:
  struct Choice {
    int64_t token = 0;
    TokenLogprobs logprobs;  ///< filled if the config asks for them
  };

  /// `index` is the sequence's number in the request; it goes to the callbacks and into the random
  /// numbers. The request must outlive the sequence. With no room for a token it is finished at
  /// once.
  Sequence(const GenerationRequest& request, const Prompt& prompt, int64_t index,
           std::unique_ptr<SequenceState> state);

  /// The next token from the model's logits [vocab_size], which it changes. Different sequences may
  /// choose at the same time on different threads.
  Choice choose(std::span<float> logits) const;

  /// Takes the token, calls the request's callbacks and decides whether the sequence goes on.
  /// `out_of_time`: it has to end now.
  void append(Choice choice, bool out_of_time);

  bool finished() const { return finished_; }
  /// The last token as input of the model's next step.
  Step next_step() { return {state_.get(), std::span(history_).last(1)}; }
  int64_t index() const { return index_; }
  SequenceResult take_result() { return std::move(result_); }

 private:
  void finish(FinishReason reason);
  /// Gives text to the result and to on_text; false if that says stop.
  bool show(const std::string& text);

  const GenerationRequest& request_;
  int64_t index_;
  std::unique_ptr<SequenceState> state_;
  std::vector<int64_t> history_;  // padded prompt, then new tokens
  size_t prompt_width_;
  int64_t max_length_;
  TextDecoder decoder_;
  StopStringMatcher matcher_;
  SequenceResult result_;
  bool finished_ = false;
  bool mute_ = false;  // on_text has asked for the end
};

}  // namespace dsv3::generation
