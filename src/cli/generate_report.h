#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/json.h"
#include "cli/observed_lm.h"
#include "cli/prompts.h"
#include "dsv3/generation.h"
#include "dsv3/model.h"

namespace dsv3::cli {

/// Measurements of one run of `generate`.
struct GenerateStats {
  double load_seconds = 0;
  double generate_seconds = 0;  ///< prompts included
  int64_t new_tokens = 0;       ///< in the results
  ObservedLm::Counts counts;
  int64_t weight_bytes = 0;
  int64_t cache_bytes = 0;
  std::optional<uint64_t> seed;  ///< of sampling

  Json to_json() const;
  /// Some lines.
  std::string to_text() const;
};

/// Of all weights in memory, mapped files included, each tensor once.
int64_t weight_bytes(const DeepseekV3ForCausalLM& model);
/// What one token takes in the cache of one sequence.
int64_t cache_bytes_per_token(const DeepseekV3Config& config, DType dtype);

/// The object that stands for one prompt and its sequences. `tokenizer` may be null.
Json prompt_result_json(const PromptInput& prompt, std::span<const SequenceResult> sequences,
                        const Tokenizer* tokenizer);

/// One line of JSON, with the line's end. Text that is no UTF-8 gets U+FFFD.
std::string json_line(const Json& json);

}  // namespace dsv3::cli
