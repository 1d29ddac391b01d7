#include "generation/prefill.h"

#include <algorithm>
#include <deque>

namespace dsv3::generation {

void prefill(CausalLm& model, std::span<const Prompt> prompts, int64_t chunk,
             const std::function<void(size_t prompt, std::unique_ptr<SequenceState> state,
                                      std::span<float> logits)>& ready) {
  struct Waiting {
    size_t prompt;
    size_t fed = 0;
    std::unique_ptr<SequenceState> state;
  };
  std::deque<Waiting> waiting;
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (prompts[i].max_new_tokens() > 0) waiting.push_back({i});
  }

  const size_t vocab_size = static_cast<size_t>(model.vocab_size());
  std::vector<Step> steps;
  std::vector<float> logits;
  while (!waiting.empty()) {
    steps.clear();
    size_t room = static_cast<size_t>(chunk);
    for (auto it = waiting.begin(); it != waiting.end() && room > 0; ++it) {
      const auto& tokens = prompts[it->prompt].tokens;
      if (!it->state) {
        it->state = model.begin_sequence(tokens);
        it->fed = static_cast<size_t>(it->state->length());
      }
      const size_t n = std::min(room, tokens.size() - it->fed);
      steps.push_back({it->state.get(), std::span(tokens).subspan(it->fed, n)});
      it->fed += n;
      room -= n;
    }
    logits.resize(steps.size() * vocab_size);
    model.forward(steps, logits);
    // All but the last of a step's prompts are complete.
    for (size_t i = 0; i < steps.size(); ++i) {
      Waiting& w = waiting.front();
      if (w.fed < prompts[w.prompt].tokens.size()) break;
      ready(w.prompt, std::move(w.state), std::span(logits).subspan(i * vocab_size, vocab_size));
      waiting.pop_front();
    }
  }
}

}  // namespace dsv3::generation
