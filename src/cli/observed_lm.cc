#include "cli/observed_lm.h"

#include <algorithm>

#include "base/log.h"
#include "cli/console.h"

namespace dsv3::cli {

std::unique_ptr<generation::SequenceState> ObservedLm::begin_sequence(
    std::span<const int64_t> prompt) {
  auto state = model_.begin_sequence(prompt);
  prompt_tokens_left_ -= state->length();  // nobody has to compute them
  return state;
}

void ObservedLm::forward(std::span<const generation::Step> steps, std::span<float> logits) {
  const bool prompt = prompt_tokens_left_ > 0;
  if (interrupted() && (prompt || stoppable_)) throw Interrupted();
  const auto begin = std::chrono::steady_clock::now();
  model_.forward(steps, logits);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;

  int64_t tokens = 0, held = 0;
  for (const generation::Step& step : steps) {
    tokens += static_cast<int64_t>(step.tokens.size());
    held += step.state->length();
  }
  counts_.largest_context = std::max(counts_.largest_context, held);
  if (!prompt) {
    counts_.decoded_tokens += tokens;
    return;
  }
  counts_.prompt_tokens += tokens;
  counts_.prompt_seconds += seconds.count();
  prompt_tokens_left_ -= tokens;
  report_progress("prompt", counts_.prompt_tokens,
                  counts_.prompt_tokens + std::max<int64_t>(0, prompt_tokens_left_));
}

}  // namespace dsv3::cli
