#include "cli/generate_report.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <cstdlib>
#include <set>

#include "base/thread_pool.h"
#include "cli/units.h"
#include "kernels/variants.h"
#include "model/pretrained.h"

namespace dsv3::cli {
namespace {

int64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

double rate(int64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

/// The number as short as a float is written, not with the digits that a double would add.
double shortest(float x) { return std::strtod(fmt::format("{}", x).c_str(), nullptr); }

Json token_json(int64_t id, float logprob, const Tokenizer* tokenizer) {
  Json json = {{"id", id}, {"logprob", shortest(logprob)}};
  if (tokenizer != nullptr) json["token"] = tokenizer->id_to_token(id).value_or("");
  return json;
}

Json sequence_json(const SequenceResult& sequence, const Tokenizer* tokenizer) {
  Json json;
  json["text"] = tokenizer != nullptr ? Json(sequence.text) : Json();
  json["ids"] = sequence.tokens;
  json["finish_reason"] = finish_reason_name(sequence.finish_reason);
  if (sequence.finish_reason == FinishReason::kStopString)
    json["stop_string"] = sequence.stop_string;
  if (sequence.score != 0) json["score"] = shortest(sequence.score);
  if (sequence.logprobs.empty()) return json;
  Json& logprobs = json["logprobs"] = Json::array();
  for (size_t i = 0; i < sequence.logprobs.size() && i < sequence.tokens.size(); ++i) {
    Json entry = token_json(sequence.tokens[i], sequence.logprobs[i].logprob, tokenizer);
    entry["top"] = Json::array();
    for (const auto& [id, logprob] : sequence.logprobs[i].top) {
      entry["top"].push_back(token_json(id, logprob, tokenizer));
    }
    logprobs.push_back(std::move(entry));
  }
  return json;
}

}  // namespace

int64_t weight_bytes(const DeepseekV3ForCausalLM& model) {
  const model::LoadedModel& loaded = model.loaded();
  model::ModelWeights weights = loaded.weights;  // shares the memory
  std::set<const void*> seen;
  int64_t bytes = 0;
  const auto count = [&](const Tensor& t) {
    if (t.defined() && seen.insert(t.raw()).second) bytes += static_cast<int64_t>(t.bytes());
  };
  for (const auto& slot :
       enumerate_tensors(loaded.config, loaded.head, !weights.mtp.empty(), weights)) {
    count(*slot.tensor);
    if (slot.linear != nullptr) count(slot.linear->scale_inv);
  }
  return bytes;
}

int64_t cache_bytes_per_token(const DeepseekV3Config& config, DType dtype) {
  return config.num_hidden_layers * model::latent_layout(config, dtype).page_bytes() /
         ops::kPageTokens;
}

Json GenerateStats::to_json() const {
  const double decode_seconds = generate_seconds - counts.prompt_seconds;
  Json json = {{"load_seconds", load_seconds},
               {"prompt_tokens", counts.prompt_tokens},
               {"prompt_seconds", counts.prompt_seconds},
               {"prompt_tokens_per_second", rate(counts.prompt_tokens, counts.prompt_seconds)},
               {"new_tokens", new_tokens},
               {"decoded_tokens", counts.decoded_tokens},
               {"decode_seconds", decode_seconds},
               {"decode_tokens_per_second", rate(counts.decoded_tokens, decode_seconds)},
               {"weight_bytes", weight_bytes},
               {"cache_bytes", cache_bytes},
               {"peak_memory_bytes", peak_memory_bytes()},
               {"threads", thread_pool().size()},
               {"kernels", kernels::current_variant()}};
  return json;
}

std::string GenerateStats::to_text() const {
  const double decode_seconds = generate_seconds - counts.prompt_seconds;
  std::string text;
  const auto line = [&](const char* name, const std::string& value) {
    text += fmt::format("{:<11}{}\n", name, value);
  };
  line("load", fmt::format("{:.2f} s", load_seconds));
  line("prompt",
       fmt::format("{} tokens in {:.2f} s, {:.1f} tokens/s", counts.prompt_tokens,
                   counts.prompt_seconds, rate(counts.prompt_tokens, counts.prompt_seconds)));
  line("generation", fmt::format("{} tokens; {} decoded in {:.2f} s, {:.1f} tokens/s", new_tokens,
                                 counts.decoded_tokens, decode_seconds,
                                 rate(counts.decoded_tokens, decode_seconds)));
  line("memory", fmt::format("{} weights, {} cache, {} at most in use", short_bytes(weight_bytes),
                             short_bytes(cache_bytes), short_bytes(peak_memory_bytes())));
  line("processor",
       fmt::format("{} threads, {} kernels", thread_pool().size(), kernels::current_variant()));
  if (seed) line("seed", std::to_string(*seed));
  text.pop_back();
  return text;
}

Json prompt_result_json(const PromptInput& prompt, std::span<const SequenceResult> sequences,
                        const Tokenizer* tokenizer) {
  Json json;
  if (!prompt.label.is_null()) json["id"] = prompt.label;
  json["prompt"] = prompt.text ? Json(*prompt.text) : Json();
  json["prompt_ids"] = prompt.ids;
  json["sequences"] = Json::array();
  for (const SequenceResult& sequence : sequences)
    json["sequences"].push_back(sequence_json(sequence, tokenizer));
  return json;
}

std::string json_line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace dsv3::cli
