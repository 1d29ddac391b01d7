// dsv3 quantize: a model as a GGUF file, in fewer bits.

#include "quantization/quantize.h"

#include <fmt/format.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/memory.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/engine_options.h"
#include "cli/units.h"
#include "quantization/mixture.h"

namespace dsv3::cli {
namespace {

using quantization::Mixture;
using quantization::QuantizedTensor;
using quantization::QuantizeOptions;
using quantization::QuantizeReport;

struct QuantizeCommand {
  std::filesystem::path source, target;
  QuantizeOptions options;
  std::string output_type, embedding_type, kv_b, split_max_size;
  std::vector<std::string> tensor_types;
  bool no_mtp = false, no_tokenizer = false;
  EngineOptions engine;
};

DType type_named(const std::string& name) {
  const auto type = dtype_from_name(name);
  if (!type)
    throw UsageError(fmt::format("'{}' is no type of a tensor (try q4_k, q8_0, bf16)", name));
  return *type;
}

// "40G": powers of 1000, as llama-gguf-split counts.
uint64_t size_named(const std::string& text) {
  size_t used = 0;
  double number = 0;
  try {
    number = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  const std::string unit = text.substr(used);
  const double factor = unit == "M" ? 1e6 : unit == "G" ? 1e9 : 0;
  if (used == 0 || factor == 0 || number <= 0) {
    throw UsageError(fmt::format("'{}' is no size, expected a number and M or G, as 40G", text));
  }
  return static_cast<uint64_t>(number * factor);
}

QuantizeOptions options_of(const QuantizeCommand& c) {
  QuantizeOptions options = c.options;
  if (!c.output_type.empty()) options.output_type = type_named(c.output_type);
  if (!c.embedding_type.empty()) options.embedding_type = type_named(c.embedding_type);
  for (const std::string& text : c.tensor_types) {
    const size_t at = text.rfind('=');
    if (at == std::string::npos || at == 0) {
      throw UsageError(fmt::format("'{}': expected PATTERN=TYPE, as ffn_down_exps=q6_k", text));
    }
    options.overrides.push_back({text.substr(0, at), type_named(text.substr(at + 1))});
  }
  if (!c.kv_b.empty()) options.split_kv_b = c.kv_b == "split";
  if (!c.split_max_size.empty()) options.max_shard_bytes = size_named(c.split_max_size);
  options.mtp = !c.no_mtp;
  options.with_tokenizer = !c.no_tokenizer;
  return options;
}

std::string plan_table(const QuantizeReport& report) {
  size_t width = 0;
  for (const QuantizedTensor& t : report.tensors) width = std::max(width, t.name.size());
  std::string text;
  for (const QuantizedTensor& t : report.tensors) {
    text +=
        fmt::format("{:<{}}  {:<20} {:>8} -> {:<7} {:>10}\n", t.name, width, shape_string(t.shape),
                    t.from, dtype_name(t.type), short_bytes(static_cast<int64_t>(t.bytes)));
  }
  return text;
}

std::string summary(const QuantizeReport& report) {
  std::map<std::string_view, std::pair<int64_t, uint64_t>> totals;
  for (const QuantizedTensor& t : report.tensors) {
    auto& [count, bytes] = totals[dtype_name(t.type)];
    ++count;
    bytes += t.bytes;
  }
  std::string text =
      fmt::format("{} parameters in {}, {:.2f} bits each\n", short_count(report.parameters),
                  short_bytes(static_cast<int64_t>(report.bytes)), report.bits_per_weight());
  for (const auto& [type, total] : totals) {
    text +=
        fmt::format("  {:<7} {:>6} tensor{} {:>10}\n", type, total.first,
                    total.first == 1 ? " " : "s", short_bytes(static_cast<int64_t>(total.second)));
  }
  return text;
}

int run_quantize(const QuantizeCommand& command) {
  const QuantizeOptions options = options_of(command);
  apply_processor_options(command.engine);
  const auto start = std::chrono::steady_clock::now();
  const QuantizeReport report = quantization::quantize(command.source, command.target, options);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  clear_progress();
  if (options.dry_run) {
    write_out(plan_table(report) + summary(report));
    return kDone;
  }
  std::string files = report.files.front().string();
  if (report.files.size() > 1) files += fmt::format(" and {} more files", report.files.size() - 1);
  write_out(fmt::format("{}: {}", files, summary(report)));
  note(fmt::format("{:.1f} s, {:.0f} million parameters a second, {} of memory at most",
                   seconds.count(), static_cast<double>(report.parameters) / 1e6 / seconds.count(),
                   short_bytes(peak_resident_bytes())));
  return kDone;
}

}  // namespace

void add_quantize_command(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("quantize", "Write a model as a GGUF file, in fewer bits or as it is");
  auto c = std::make_shared<QuantizeCommand>();
  command->add_option("SOURCE", c->source, "folder of a checkpoint, or a GGUF file")->required();
  command->add_option("TARGET", c->target, "the GGUF file to write")->required();
  command->add_option("--type", c->options.mixture, "mixture of types; default: Q4_K_M")
      ->type_name("TYPE");

  constexpr const char* kTypes = "Types of tensors";
  command
      ->add_option("--tensor-type", c->tensor_types,
                   "type of the tensors whose GGUF name matches a regular expression; may be "
                   "repeated, the first match counts")
      ->type_name("PATTERN=TYPE")
      ->group(kTypes);
  command->add_option("--output-tensor-type", c->output_type, "type of the head")
      ->type_name("TYPE")
      ->group(kTypes);
  command->add_option("--token-embedding-type", c->embedding_type, "type of the embedding")
      ->type_name("TYPE")
      ->group(kTypes);
  command->add_flag("--pure", c->options.pure, "one type for all tensors instead of a mixture")
      ->group(kTypes);
  command
      ->add_option("--imatrix", c->options.imatrix,
                   "importance matrix, of dsv3 imatrix or llama-imatrix")
      ->type_name("FILE")
      ->group(kTypes);
  command
      ->add_flag("--allow-requantize", c->options.allow_requantize,
                 "also from tensors that are quantised already, which loses more")
      ->group(kTypes);

  constexpr const char* kFile = "File";
  command
      ->add_option("--kv-b", c->kv_b,
                   "kv_b_proj as one tensor or as attn_k_b and attn_v_b; default: as a GGUF source "
                   "has it, else split")
      ->check(CLI::IsMember({"whole", "split"}))
      ->group(kFile);
  command
      ->add_option("--split-max-size", c->split_max_size,
                   "several files of at most so much data: 500M, 40G")
      ->type_name("SIZE")
      ->group(kFile);
  command->add_flag("--no-mtp", c->no_mtp, "leave the multi-token prediction modules out")
      ->group(kFile);
  command
      ->add_option("--tokenizer-pre", c->options.tokenizer_pre,
                   "llama.cpp's name of the pre-tokenizer, if its pattern is not known")
      ->type_name("NAME")
      ->group(kFile);
  command->add_flag("--no-tokenizer", c->no_tokenizer, "leave the tokenizer out")->group(kFile);
  command->add_flag("--dry-run", c->options.dry_run, "show types and sizes, write nothing");
  add_processor_options(*command, c->engine);
  command->footer(R"(
Reads a folder with safetensors (FP8 as released by DeepSeek, BF16, F16, F32) or a GGUF file, and writes a
GGUF file that llama.cpp and dsv3 run. Norms, biases and the router stay in float32.

Types, from large to small: F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q5_K_S, Q5_1, Q5_0, Q4_K_M, Q4_K_S, Q4_1,
Q4_0, IQ4_NL, IQ4_XS, Q3_K_L, Q3_K_M, Q3_K_S, Q2_K, Q2_K_S. They are llama.cpp's mixtures: Q4_K_M has some
tensors in Q6_K. docs/FORMATS.md has the error of each.

Examples:
  dsv3 quantize ~/models/DeepSeek-V3 v3-q4.gguf --type Q4_K_M
  dsv3 quantize ~/models/DeepSeek-V3 v3.gguf --type Q2_K --imatrix imatrix.gguf --split-max-size 40G
  dsv3 quantize model-bf16.gguf small.gguf --type Q4_K_M --tensor-type 'ffn_down_exps=q6_k'
  dsv3 quantize ~/models/Moonlight-16B-A3B out.gguf --type Q8_0 --dry-run)");
  command->callback([c, &action] { action = [c] { return run_quantize(*c); }; });
}

}  // namespace dsv3::cli
