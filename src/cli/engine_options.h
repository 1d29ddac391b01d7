#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "dsv3/model.h"

namespace dsv3::cli {

/// Options that every command which runs a model has: how to compute, not what.
struct EngineOptions {
  int threads = 0;   ///< 0: as many as the process may run on
  std::string cpus;  ///< empty: all that the process may use
  std::string numa = "none";
  std::string kernels;
  std::string dtype = "auto";
  std::string attention = "auto";
  std::string fp8_activations = "none";
  bool deterministic = false;
  bool precise = false;
  bool mlock = false;
  std::string huge_pages = "off";
  std::string cache_dtype = "auto";
  int64_t prefill_chunk = 512;
  std::optional<int64_t> context;

  LoadOptions load_options() const;
  DType cache_type() const;
};

/// --threads, --cpu-mask, --numa and --kernels.
void add_processor_options(CLI::App& command, EngineOptions& options);
/// Those, --precise, --dtype, --attention, --fp8-activations, --deterministic, --mlock and
/// --huge-pages. `precise`, and what options.huge_pages is, are what the command does if it is not
/// told.
void add_engine_options(CLI::App& command, EngineOptions& options, bool precise = false);
/// --cache-dtype.
void add_cache_type_option(CLI::App& command, EngineOptions& options);
/// --cache-dtype, --context and --prefill-chunk, for commands with a cache.
void add_cache_options(CLI::App& command, EngineOptions& options);

/// Sets threads and kernels of the process; to be called before anything is computed.
void apply_processor_options(const EngineOptions& options);

}  // namespace dsv3::cli
