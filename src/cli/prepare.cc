// dsv3 prepare: texts to the token shards that training reads.

#include "training/prepare.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>

#include "base/log.h"
#include "base/memory.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/document_options.h"
#include "cli/engine_options.h"
#include "cli/units.h"

namespace dsv3::cli {
namespace {

using training::PreparedSet;
using training::PrepareOptions;
using training::PrepareReport;

struct PrepareCommand {
  std::filesystem::path folder, tokenizer;
  PrepareOptions options;
  EngineOptions engine;
};

void write_set(const char* name, const PreparedSet& set) {
  write_out(fmt::format("{:<9} {} tokens in {} documents, {} shard{}\n", name,
                        with_commas(set.tokens), with_commas(set.documents), set.shards,
                        set.shards == 1 ? "" : "s"));
}

int run_prepare(const PrepareCommand& command) {
  apply_processor_options(command.engine);
  PrepareOptions options = command.options;
  options.progress = [](int64_t done, int64_t total) {
    report_progress("preparing", done, total, ProgressUnit::kBytes);
  };
  options.stop = interrupted;
  const InterruptGuard guard;
  const auto start = std::chrono::steady_clock::now();
  const auto tokenizer = Tokenizer::from_file(command.tokenizer);
  const PrepareReport report = training::prepare(tokenizer, command.folder, options);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  clear_progress();
  if (report.stopped) {
    note("interrupted; nothing was written");
    return kInterrupted;
  }
  write_set(options.valid_fraction > 0 ? "train" : "shards", report.train);
  if (options.valid_fraction > 0) write_set("valid", report.valid);
  if (options.fim_rate > 0) {
    write_out(fmt::format("{:<9} {} documents\n", "fim", with_commas(report.fim_documents)));
  }
  write_out(fmt::format("{:<9} {}, {:.2f} bytes a token, {} empty document{} left out\n", "text",
                        short_bytes(report.text_bytes),
                        static_cast<double>(report.text_bytes) /
                            static_cast<double>(report.train.tokens + report.valid.tokens),
                        with_commas(report.empty_documents),
                        report.empty_documents == 1 ? "" : "s"));
  write_out(fmt::format("{:<9} {}\n", "folder", command.folder.string()));
  note(fmt::format(
      "{:.1f} s, {}/s, {} of memory at most", seconds.count(),
      short_bytes(static_cast<int64_t>(static_cast<double>(report.text_bytes) / seconds.count())),
      short_bytes(peak_resident_bytes())));
  return kDone;
}

}  // namespace

void add_prepare_command(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("prepare", "Write texts as the token shards that training reads");
  auto c = std::make_shared<PrepareCommand>();
  PrepareOptions& o = c->options;
  command->add_option("INPUTS", o.inputs, "files and folders of text")->required();
  command->add_option("-o,--output", c->folder, "folder to write; it must not be there or be empty")
      ->required()
      ->type_name("FOLDER");
  command
      ->add_option("--tokenizer", c->tokenizer,
                   "folder with tokenizer.json and tokenizer_config.json, or a GGUF file")
      ->required()
      ->type_name("PATH");
  add_document_options(*command, o.documents);
  command->add_option("--shard-tokens", o.shard_tokens, "tokens of a shard, at most")
      ->check(CLI::PositiveNumber.description(""))
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--valid-fraction", o.valid_fraction,
                   "probability of a document to be set apart for validation")
      ->check(CLI::Range(0.0, 1.0).description(""))
      ->type_name("P")
      ->capture_default_str();
  command
      ->add_option("--fim-rate", o.fim_rate,
                   "probability of a document of training to become Fill-in-Middle")
      ->check(CLI::Range(0.0, 1.0).description(""))
      ->type_name("P")
      ->capture_default_str();
  command->add_option("--seed", o.seed, "of what is drawn for the two")
      ->type_name("N")
      ->capture_default_str();
  add_processor_options(*command, c->engine);
  command->footer(R"(
Inputs are text files, files of JSON objects a line (*.jsonl, *.ndjson, *.json), or folders of them
(*.txt, *.text and *.md too). A text file is one document, or with --document-separator what is
between the lines that are exactly that. Each document is written as BOS, its tokens, EOS; empty ones
are left out. The texts of special tokens are text like any other there.

The folder appears when all is done. It has shard-00000.tokens and so on, or with --valid-fraction
folders train and valid of them. docs/TRAINING.md has their format.

--fim-rate makes documents of training into Fill-in-Middle, as DeepSeek-V3 was trained with a rate of
0.1: BOS <｜fim▁begin｜> prefix <｜fim▁hole｜> suffix <｜fim▁end｜> middle EOS, cut at random characters.

Examples:
  dsv3 prepare stories.txt -o data --tokenizer models/stories --document-separator '<|endoftext|>'
  dsv3 prepare corpus/ -o data --tokenizer ~/models/DeepSeek-V3 --field content --valid-fraction 0.01
  zcat code.jsonl.gz | dsv3 prepare /dev/stdin --jsonl -o data --tokenizer tok --fim-rate 0.1)");
  command->callback([c, &action] { action = [c] { return run_prepare(*c); }; });
}

}  // namespace dsv3::cli
