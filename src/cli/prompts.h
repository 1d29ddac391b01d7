#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "dsv3/generation.h"
#include "dsv3/tokenizer.h"

namespace dsv3::cli {

/// Where prompts come from; one of these, or else standard input.
struct PromptOptions {
  std::optional<std::string> text;
  std::optional<std::string> file;   ///< "-": standard input
  std::optional<std::string> ids;    ///< "1,2,3"
  std::optional<std::string> batch;  ///< a file of JSON lines; "-": standard input

  bool given() const { return text || file || ids || batch; }
};

void add_prompt_options(CLI::App& command, PromptOptions& options);

struct PromptInput {
  std::optional<std::string> text;  ///< absent if it was given as ids
  std::vector<int64_t> ids;
  Json label;  ///< the "id" of a line in a batch file, or null
};

/// Reads and encodes the prompts. `tokenizer` may be null if only ids are given. An empty text
/// begins with the model's bos token, as in Hugging Face. Throws UsageError and Error.
std::vector<PromptInput> read_prompts(const PromptOptions& options, const Tokenizer* tokenizer,
                                      const GenerationConfig& config);

}  // namespace dsv3::cli
