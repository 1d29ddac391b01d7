#include "cli/engine_options.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "cli/commands.h"
#include "kernels/variants.h"

namespace dsv3::cli {
namespace {

constexpr const char* kGroup = "Engine";

/// For CLI11: what is wrong with the value, or nothing.
std::string at_least_one(const std::string& text) {
  int64_t value = 0;
  return CLI::detail::lexical_cast(text, value) && value >= 1
             ? ""
             : "must be a number of at least 1, not " + text;
}

CLI::Option* add_choice(CLI::App& command, const char* name, std::string& value,
                        const std::vector<std::string>& choices, const char* help) {
  std::string all;
  for (const std::string& choice : choices) all += (all.empty() ? "" : "|") + choice;
  return command.add_option(name, value, help)
      ->check(CLI::IsMember(choices).description(""))
      ->type_name(all)
      ->group(kGroup)
      ->capture_default_str();
}

}  // namespace

LoadOptions EngineOptions::load_options() const {
  LoadOptions load;
  if (dtype == "float32") load.dtype = WeightDType::kFloat32;
  if (dtype == "bfloat16") load.dtype = WeightDType::kBFloat16;
  if (attention == "absorbed") load.attention = AttentionForm::kAbsorbed;
  if (attention == "expanded") load.attention = AttentionForm::kExpanded;
  if (fp8_activations == "dynamic") load.fp8_activations = Fp8Mode::kDynamic;
  load.deterministic = deterministic;
  load.lock_memory = mlock;
  if (huge_pages == "on") load.huge_pages = HugePages::kOn;
  if (huge_pages == "auto") load.huge_pages = HugePages::kIfQuick;
  const bool rounds = !precise && !deterministic && load.fp8_activations == Fp8Mode::kWeightOnly;
  load.precision = rounds ? Precision::kFast : Precision::kFloat32;
  return load;
}

DType EngineOptions::cache_type() const {
  if (cache_dtype == "auto") {
    const bool rounds = load_options().precision == Precision::kFast && dtype != "float32";
    return rounds ? DType::kBF16 : DType::kF32;
  }
  if (cache_dtype == "q8") return DType::kI8;
  return cache_dtype == "bfloat16" ? DType::kBF16 : DType::kF32;
}

void add_processor_options(CLI::App& command, EngineOptions& options) {
  command
      .add_option("--threads", options.threads,
                  "threads to compute with; 0: all that this process may use")
      ->check(CLI::Range(0, 4096).description(""))
      ->type_name("N")
      ->group(kGroup)
      ->capture_default_str();
  command
      .add_option("--cpu-mask", options.cpus,
                  "processors to compute on: a list such as 0-3,8 or a mask such as 0xf")
      ->type_name("CPUS")
      ->group(kGroup);
  add_choice(command, "--numa", options.numa, {"none", "interleave"},
             "interleave: spread memory evenly over the machine's NUMA nodes");
  command
      .add_option(
          "--kernels", options.kernels,
          "instruction set to compute with instead of the best one: amx, avx512, avx2, sse4, "
          "scalar; default: $DSV3_ISA")
      ->type_name("NAME")
      ->group(kGroup);
}

void add_engine_options(CLI::App& command, EngineOptions& options, bool precise) {
  add_processor_options(command, options);
  options.precise = precise;
  // Each command shows the one that changes something.
  command
      .add_flag_callback(
          "--precise", [&options] { options.precise = true; },
          "float32 activations, instead of rounding them to 8 bits or bfloat16 where that is "
          "faster")
      ->group(precise ? "" : kGroup);
  command
      .add_flag_callback(
          "--fast", [&options] { options.precise = false; },
          "round activations to 8 bits or bfloat16 where that is faster, as generate does")
      ->group(precise ? kGroup : "");
  add_choice(command, "--dtype", options.dtype, {"auto", "float32", "bfloat16"},
             "type to hold the weights in; auto: as they are stored");
  add_choice(command, "--attention", options.attention, {"auto", "absorbed", "expanded"},
             "form of latent attention; both give the same numbers but for rounding");
  add_choice(command, "--fp8-activations", options.fp8_activations, {"none", "dynamic"},
             "quantise the inputs of FP8 weights, as DeepSeek's kernels do");
  command
      .add_flag("--deterministic", options.deterministic,
                "same numbers whatever the batch, the chunks and the number of threads")
      ->group(kGroup);
  command.add_flag("--mlock", options.mlock, "keep the weights in memory, whoever else wants it")
      ->group(kGroup);
  add_choice(command, "--huge-pages", options.huge_pages, {"auto", "on", "off"},
             "copy the weights from the file's pages to huge ones, which takes a moment and makes "
             "reading them faster; auto: given up if it takes long");
}

void add_cache_type_option(CLI::App& command, EngineOptions& options) {
  add_choice(command, "--cache-dtype", options.cache_dtype, {"auto", "float32", "bfloat16", "q8"},
             "type of the latent cache; bfloat16 takes half of float32's memory and is computed "
             "faster, q8 takes little more than a quarter; auto: bfloat16, and float32 where "
             "activations are");
}

void add_cache_options(CLI::App& command, EngineOptions& options) {
  add_cache_type_option(command, options);
  command
      .add_option("--context", options.context,
                  "most tokens of a sequence, with memory for them from the start; default: what "
                  "the model allows, "
                  "memory as needed")
      ->check(at_least_one)
      ->type_name("N")
      ->group(kGroup);
  command
      .add_option("--prefill-chunk", options.prefill_chunk, "most prompt tokens computed together")
      ->check(at_least_one)
      ->type_name("N")
      ->group(kGroup)
      ->capture_default_str();
}

void apply_processor_options(const EngineOptions& options) {
  try {
    if (!options.cpus.empty()) set_cpus(options.cpus);
    if (options.numa == "interleave") interleave_memory();
    set_num_threads(options.threads);
    kernels::force_variant(options.kernels);
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
}

}  // namespace dsv3::cli
