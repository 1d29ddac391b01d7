// dsv3 imatrix: how much each input channel of each weight matters, for quantisation.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/engine_options.h"
#include "cli/ids_file.h"
#include "cli/imatrix_report.h"
#include "cli/model_tokenizer.h"
#include "quantization/imatrix_collector.h"

namespace dsv3::cli {
namespace {

using Clock = std::chrono::steady_clock;
using quantization::ImportanceMatrix;
namespace fs = std::filesystem;

struct ImatrixOptions {
  std::optional<fs::path> model, text, ids, output, tokenizer;
  std::vector<fs::path> merge;
  int64_t chunk = 512, skip = 0;
  std::optional<int64_t> chunks;
  int64_t batch_tokens = 2048;
  int64_t save_every = 300;
  bool process_output = false, mtp = false, show_statistics = false;
  EngineOptions engine;
};

class Command {
 public:
  explicit Command(const ImatrixOptions& options) : o_(options) {}

  int run() {
    check_usage();
    if (o_.model || o_.output) {
      output_ = o_.output.value_or("imatrix.gguf");
      require_output();
    }
    for (const fs::path& path : o_.merge) matrix_.add(ImportanceMatrix::read(path));
    int code = kDone;
    if (o_.model) {
      code = collect();
    } else if (o_.output) {
      save();
    }
    if (o_.show_statistics) write_out(importance_table(matrix_) + "\n");
    write_out(importance_summary(matrix_));
    if (!output_.empty()) write_out(fmt::format("{:<9} {}\n", "file", output_.string()));
    return code;
  }

 private:
  void check_usage() const {
    if (!o_.model && o_.merge.empty()) throw UsageError("give MODEL and TEXT, or --merge");
    if (!o_.model && !o_.output && !o_.show_statistics) {
      throw UsageError("give --output or --show-statistics, or a MODEL and TEXT to go on with");
    }
    if (o_.model && o_.text.has_value() == o_.ids.has_value()) {
      throw UsageError("give MODEL one of TEXT and --ids");
    }
    if (!o_.model && o_.ids) throw UsageError("--ids needs a MODEL");
  }

  // Before anything that takes time: an hour of work is not to end at a folder that is not there,
  // nor a mistyped name to cost a file of the model.
  void require_output() const {
    for (const auto& used : {o_.model, o_.text, o_.ids}) {
      std::error_code ec;
      if (used && fs::equivalent(*used, output_, ec)) {
        throw UsageError(fmt::format("--output {}: is what was to be read", output_.string()));
      }
    }
    std::error_code ec;
    if (fs::exists(output_, ec)) {
      try {
        ImportanceMatrix::read(output_);
      } catch (const Error& error) {
        throw UsageError(fmt::format("--output {}: is there and is something else ({})",
                                     output_.string(), error.what()));
      }
    }
    const AtomicFile probe(output_);
  }

  std::vector<std::vector<int64_t>> read_chunks() const {
    std::vector<int64_t> ids;
    std::optional<int64_t> bos;
    if (o_.ids) {
      ids = read_ids(*o_.ids);
    } else {
      const auto tokenizer = model_tokenizer(*o_.model, o_.tokenizer);
      if (!tokenizer) {
        fail("{}: the model has no tokenizer: give token ids as --ids, or a --tokenizer",
             o_.model->string());
      }
      ids = tokenizer->encode_prompt(read_file(*o_.text));
      if (tokenizer->add_bos_token()) bos = tokenizer->bos_token_id();
    }
    const std::string source = (o_.ids ? *o_.ids : *o_.text).string();
    if (ids.empty()) fail("{}: there is no token in it", source);
    auto chunks = quantization::cut_into_chunks(ids, o_.chunk, bos);
    const auto n = static_cast<int64_t>(chunks.size());
    if (n <= o_.skip) {
      fail("{}: {} tokens are {} chunk{} of {}, expected more than the {} to skip", source,
           ids.size(), n, n == 1 ? "" : "s", o_.chunk, o_.skip);
    }
    chunks.erase(chunks.begin(), chunks.begin() + o_.skip);
    if (o_.chunks && *o_.chunks < static_cast<int64_t>(chunks.size())) {
      chunks.resize(static_cast<size_t>(*o_.chunks));
    }
    return chunks;
  }

  int collect() {
    apply_processor_options(o_.engine);
    const auto chunks = read_chunks();
    const auto length = static_cast<int64_t>(chunks[0].size());
    const DeepseekV3Config config = DeepseekV3Config::from_file(*o_.model);
    if (length > config.max_position_embeddings) {
      fail("a chunk of {} tokens: expected 1 to {} (max_position_embeddings)", length,
           config.max_position_embeddings);
    }
    LoadOptions load = o_.engine.load_options();
    load.load_mtp = o_.mtp;
    const auto model = model::load_pretrained(*o_.model, model::Head::kCausalLm, load);
    quantization::ImportanceCollector collector(*model, {.output = o_.process_output});
    const ImportanceMatrix before = std::move(matrix_);

    const InterruptGuard guard;
    const auto n = static_cast<int64_t>(chunks.size());
    const int64_t batch = std::max<int64_t>(1, o_.batch_tokens / length);
    auto saved = Clock::now();
    int64_t done = 0;
    // The sums of all; kept apart while collecting, so that a save in between has both.
    const auto take = [&] {
      matrix_ = collector.matrix();
      matrix_.chunk_count = done;
      matrix_.chunk_size = length;
      matrix_.datasets = {(o_.ids ? *o_.ids : *o_.text).string()};
      if (!before.tensors.empty()) {
        ImportanceMatrix all = before;
        all.add(matrix_);
        matrix_ = std::move(all);
      }
    };
    while (done < n && !interrupted()) {
      const int64_t end = std::min(n, done + batch);
      const std::vector<std::span<const int64_t>> sequences(chunks.begin() + done,
                                                            chunks.begin() + end);
      const int64_t layers = config.num_hidden_layers;
      collector.run(sequences, [&](int64_t layer) {
        report_progress("collecting", done * layers + (end - done) * layer, n * layers);
      });
      done = end;
      report_progress("collecting", done, n);
      if (done < n && Clock::now() - saved >= std::chrono::seconds(o_.save_every)) {
        take();
        save();
        saved = Clock::now();
      }
    }
    clear_progress();
    take();
    save();
    if (done == n) return kDone;
    note(fmt::format("interrupted after {} of {} chunks; go on with --skip-chunks {} --merge {}",
                     done, n, o_.skip + done, output_.string()));
    return kInterrupted;
  }

  void save() const { matrix_.write(output_); }

  const ImatrixOptions& o_;
  fs::path output_;  // empty: none
  ImportanceMatrix matrix_;
};

}  // namespace

void add_imatrix_command(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "imatrix", "Measure how much each input of each weight matters, for quantisation");
  auto o = std::make_shared<ImatrixOptions>();
  command->add_option("MODEL", o->model, "folder of a model, or a GGUF file");
  command->add_option("TEXT", o->text, "a text to run it over");
  command->add_option("-o,--output", o->output, "importance matrix to write; default: imatrix.gguf")
      ->type_name("FILE");
  command->add_option("--ids", o->ids, "instead of TEXT, token ids: 32-bit little-endian integers")
      ->type_name("FILE");
  command
      ->add_option("--merge", o->merge,
                   "add the sums of this importance matrix; may be given several times")
      ->type_name("FILE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  const CLI::Range positive(int64_t{1}, int64_t{1} << 40);
  const CLI::Range natural(int64_t{0}, int64_t{1} << 40);
  command->add_option("--chunk,--window", o->chunk, "tokens of a chunk")
      ->type_name("N")
      ->check(positive)
      ->capture_default_str();
  command->add_option("--chunks", o->chunks, "only so many chunks; default: all")
      ->type_name("N")
      ->check(positive);
  command->add_option("--skip-chunks", o->skip, "leave out so many chunks at the beginning")
      ->type_name("N")
      ->check(natural);
  command
      ->add_option("--batch-tokens", o->batch_tokens,
                   "tokens that one forward pass takes, of several chunks")
      ->type_name("N")
      ->check(positive)
      ->capture_default_str();
  command
      ->add_option("--save-every", o->save_every,
                   "seconds after which what there is is written, in case of accidents")
      ->type_name("SECONDS")
      ->check(natural)
      ->capture_default_str();
  command->add_flag("--process-output", o->process_output,
                    "also for the output head; llama.cpp advises against it");
  command->add_flag("--mtp", o->mtp, "also for the multi-token prediction modules");
  command->add_flag("--show-statistics", o->show_statistics, "a table of all tensors at the end");
  command
      ->add_option("--tokenizer", o->tokenizer,
                   "tokenizer.json, or a folder with one; default: MODEL's")
      ->type_name("PATH");
  add_engine_options(*command, o->engine, true);
  command->footer(R"(
A text is encoded as a prompt and cut into chunks of --chunk tokens, each a fresh sequence; what is
left over is not used. Where the tokenizer puts BOS in front of prompts, it takes the place of each
chunk's first token, as in llama-imatrix. Token ids are taken as they are.

The file is one that llama-quantize reads too, and --merge reads those of llama-imatrix, GGUF and
.dat. Take a text like those that the model is for, of all languages and with code; experts that no
token was routed to are rounded like the mean of the others.

The tables of --show-statistics have for each tensor: tokens (of experts, the most and the least),
mean and largest mean square of a channel, and how many of the channels matter (the exponential of
the entropy of their shares).

Examples:
  dsv3 imatrix models/stories README.md -o imatrix.gguf
  dsv3 imatrix ~/models/DeepSeek-V3 calibration.txt --chunks 200 -o imatrix.gguf
  dsv3 imatrix ~/models/DeepSeek-V3 calibration.txt --skip-chunks 200 --merge imatrix.gguf
  dsv3 imatrix --merge english.gguf --merge chinese.dat -o both.gguf
  dsv3 imatrix --merge imatrix.gguf --show-statistics
  dsv3 quantize ~/models/DeepSeek-V3 v3.gguf --imatrix imatrix.gguf)");
  command->callback([o, &action] { action = [o] { return Command(*o).run(); }; });
}

}  // namespace dsv3::cli
