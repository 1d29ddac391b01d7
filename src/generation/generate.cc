#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "dsv3/generation.h"
#include "generation/beam_search.h"
#include "generation/deadline.h"
#include "generation/prefill.h"
#include "generation/prompts.h"
#include "generation/sequence.h"

namespace dsv3 {
namespace {

using namespace generation;

/// Greedy search and sampling.
GenerationResult generate_sequences(CausalLm& model, const GenerationRequest& request,
                                    std::span<const Prompt> prompts, const Deadline& deadline) {
  const size_t copies = static_cast<size_t>(request.config.num_return_sequences);
  const size_t vocab_size = static_cast<size_t>(model.vocab_size());
  GenerationResult result;
  result.sequences.resize(prompts.size() * copies);
  std::vector<Sequence> active;
  const auto keep_or_store = [&](Sequence&& sequence) {
    if (sequence.finished()) {
      result.sequences[static_cast<size_t>(sequence.index())] = sequence.take_result();
    } else {
      active.push_back(std::move(sequence));
    }
  };

  const auto begin = [&](size_t prompt, std::unique_ptr<SequenceState> state,
                         std::span<float> logits) {
    std::vector<float> row;
    for (size_t c = 0; c < copies; ++c) {
      const int64_t index = static_cast<int64_t>(prompt * copies + c);
      const bool last = c + 1 == copies;
      Sequence sequence(request, prompts[prompt], index, last ? std::move(state) : state->clone());
      row.assign(logits.begin(), logits.end());
      sequence.append(sequence.choose(row), deadline.passed());
      keep_or_store(std::move(sequence));
    }
  };
  for (size_t i = 0; i < prompts.size(); ++i) {  // those that prefill passes over
    if (prompts[i].max_new_tokens() > 0) continue;
    for (size_t c = 0; c < copies; ++c) {
      keep_or_store(Sequence(request, prompts[i], static_cast<int64_t>(i * copies + c), nullptr));
    }
  }
  prefill(model, prompts, request.prefill_chunk, begin);

  std::vector<Step> steps;
  std::vector<float> logits;
  std::vector<Sequence::Choice> choices;
  while (!active.empty()) {
    steps.clear();
    for (Sequence& sequence : active) steps.push_back(sequence.next_step());
    logits.resize(active.size() * vocab_size);
    model.forward(steps, logits);

    choices.assign(active.size(), {});
    thread_pool().parallel_for(static_cast<int64_t>(active.size()), [&](int64_t i) {
      const size_t row = static_cast<size_t>(i);
      choices[row] = active[row].choose(std::span(logits).subspan(row * vocab_size, vocab_size));
    });
    const bool out_of_time = deadline.passed();
    std::vector<Sequence> previous;
    previous.swap(active);
    for (size_t i = 0; i < previous.size(); ++i) {
      previous[i].append(std::move(choices[i]), out_of_time);
      keep_or_store(std::move(previous[i]));
    }
  }
  return result;
}

}  // namespace

GenerationResult generate(CausalLm& model, const GenerationRequest& request) {
  const GenerationConfig& config = request.config;
  config.validate();
  if (!request.make_text_decoder && (!config.stop_strings.empty() || request.on_text)) {
    fail("stop_strings and on_text need the request's make_text_decoder");
  }
  if (config.num_beams > 1 && (request.on_token || request.on_text)) {
    fail(
        "on_token and on_text cannot be used with num_beams {}: beam search knows its tokens only "
        "at the end",
        config.num_beams);
  }
  const Deadline deadline(config.max_time);
  const std::vector<Prompt> prompts = prepare_prompts(request, model);
  return config.num_beams > 1 ? beam_search(model, request, prompts, deadline)
                              : generate_sequences(model, request, prompts, deadline);
}

}  // namespace dsv3
