#include "generation/sequence.h"

#include <utility>

#include "base/error.h"
#include "generation/random.h"
#include "generation/scoring.h"

namespace dsv3::generation {

Sequence::Sequence(const GenerationRequest& request, const Prompt& prompt, int64_t index,
                   std::unique_ptr<SequenceState> state)
    : request_(request),
      index_(index),
      state_(std::move(state)),
      history_(prompt.padded_row),
      prompt_width_(prompt.padded_row.size()),
      max_length_(prompt.max_length),
      matcher_(request.config.stop_strings, request.include_stop_string) {
  if (request.make_text_decoder) decoder_ = request.make_text_decoder();
  if (prompt.max_new_tokens() <= 0) finish(FinishReason::kLength);
}

Sequence::Choice Sequence::choose(std::span<float> logits) const {
  const GenerationConfig& config = request_.config;
  std::vector<float> original;
  if (config.logprobs) original.assign(logits.begin(), logits.end());

  const size_t generated = history_.size() - prompt_width_;
  process_scores(config, {history_, prompt_width_}, max_length_, logits,
                 fmt::format("sequence {}, new token {}", index_, generated));
  const double u = config.do_sample ? uniform(config.seed, static_cast<uint64_t>(index_),
                                              static_cast<uint32_t>(generated))
                                    : 0;
  Choice choice{select_token(config, logits, u)};
  if (config.logprobs) choice.logprobs = token_logprobs(original, choice.token, *config.logprobs);
  return choice;
}

void Sequence::append(Choice choice, bool out_of_time) {
  const GenerationConfig& config = request_.config;
  history_.push_back(choice.token);
  result_.tokens.push_back(choice.token);
  bool go_on = true;
  if (request_.on_token) {
    go_on = request_.on_token(index_, choice.token, config.logprobs ? &choice.logprobs : nullptr);
  }
  if (config.logprobs) result_.logprobs.push_back(std::move(choice.logprobs));

  if (is_eos(config, choice.token)) return finish(FinishReason::kStop);
  if (decoder_.push) go_on &= show(matcher_.push(decoder_.push(choice.token)));
  if (matcher_.stopped()) return finish(FinishReason::kStopString);
  if (static_cast<int64_t>(history_.size()) >= max_length_ || out_of_time)
    return finish(FinishReason::kLength);
  if (!go_on) finish(FinishReason::kCancelled);
}

void Sequence::finish(FinishReason reason) {
  finished_ = true;
  state_.reset();  // its memory is free for the others
  if (decoder_.flush) show(matcher_.push(decoder_.flush()));
  show(matcher_.flush());
  if (matcher_.stopped()) {
    reason = FinishReason::kStopString;
    result_.stop_string = matcher_.stop_string();
  }
  result_.finish_reason = reason;
}

bool Sequence::show(const std::string& text) {
  if (text.empty()) return true;
  result_.text += text;
  if (request_.on_text && !mute_) mute_ = !request_.on_text(index_, text);
  return !mute_;
}

}  // namespace dsv3::generation
