#pragma once

#include <CLI/CLI.hpp>
#include <optional>
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
  /// length there are `default_new_tokens`, and sampling without a seed gets a random one. Throws
  /// UsageError and Error.
  GenerationConfig apply_to(GenerationConfig config,
                            std::optional<int64_t> default_new_tokens) const;
};

/// The same for some arguments of a config in use: temperature 0 is greedy search, and other
/// options of sampling ask for it. Throws Error naming `where`.
void apply_arguments(GenerationConfig& config, Json arguments, const std::string& where);

/// The options about length, sampling, beams and penalties. `options` must outlive the parsing;
/// `default_length` is what the help says of the length without any.
void add_generation_options(CLI::App& command, GenerationOptions& options,
                            const std::string& default_length);

/// "1,2,3" as token ids. Throws UsageError naming `option`.
std::vector<int64_t> parse_ids(const std::string& text, const std::string& option);

}  // namespace dsv3::cli
