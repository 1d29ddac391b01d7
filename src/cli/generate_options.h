#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "base/json.h"
#include "dsv3/generation.h"

namespace dsv3::cli {

/// What the command line says about how to generate: Hugging Face's arguments by their names, only
/// those that were given.
struct GenerationOptions {
  Json given = Json::object();
  bool greedy = false;
  bool sample = false;

  /// The model's own defaults with what was given in their place, and what follows from it: a
  /// sampling option asks for sampling, beams for none, temperature 0 is greedy search, without any
  /// length there are 256 new tokens, and sampling without a seed gets a random one. Throws
  /// UsageError and Error.
  GenerationConfig apply_to(GenerationConfig config) const;
};

/// The options about length, sampling, beams and penalties. `options` must outlive the parsing.
void add_generation_options(CLI::App& command, GenerationOptions& options);

/// "1,2,3" as token ids. Throws UsageError naming `option`.
std::vector<int64_t> parse_ids(const std::string& text, const std::string& option);

}  // namespace dsv3::cli
