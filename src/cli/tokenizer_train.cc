// dsv3 tokenizer-train: learns a tokenizer from texts.

#include <fmt/format.h>

#include <memory>

#include "base/log.h"
#include "base/memory.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/document_options.h"
#include "cli/engine_options.h"
#include "cli/units.h"
#include "text/deepseek_tokenizer.h"
#include "training/train_tokenizer.h"

namespace dsv3::cli {
namespace {

using training::TokenizerTrainingOptions;
using training::TokenizerTrainingReport;

struct TokenizerTrainCommand {
  std::filesystem::path folder;
  TokenizerTrainingOptions options;
  EngineOptions engine;
};

int run_tokenizer_train(const TokenizerTrainCommand& command) {
  apply_processor_options(command.engine);
  TokenizerTrainingOptions options = command.options;
  options.progress = [](int64_t done, int64_t total) {
    report_progress("counting", done, total, ProgressUnit::kBytes);
  };
  options.stop = interrupted;
  TokenizerTrainingReport report;
  {
    const InterruptGuard guard;
    report = training::train_tokenizer(command.folder, options);
  }
  clear_progress();
  if (report.stopped) {
    note("interrupted; nothing was written");
    return kInterrupted;
  }
  if (report.vocab_size < options.vocab_size) {
    note(fmt::format("warning: the text has pairs for {} tokens only, of {} asked for",
                     with_commas(report.vocab_size), with_commas(options.vocab_size)));
  }
  write_out(fmt::format("{:<9} {} tokens\n", "learnt", with_commas(report.vocab_size)));
  write_out(fmt::format("{:<9} {} in {} documents, {} distinct pieces\n", "text",
                        short_bytes(report.text_bytes), with_commas(report.documents),
                        with_commas(report.distinct_pieces)));
  write_out(fmt::format("{:<9} {}\n", "folder", command.folder.string()));
  const double seconds = report.reading_seconds + report.learning_seconds;
  note(fmt::format(
      "{:.1f} s for reading, {:.1f} s for learning, {}/s in all, {} of memory at most",
      report.reading_seconds, report.learning_seconds,
      short_bytes(static_cast<int64_t>(static_cast<double>(report.text_bytes) / seconds)),
      short_bytes(peak_resident_bytes())));
  return kDone;
}

}  // namespace

void add_tokenizer_train_command(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("tokenizer-train", "Learn a tokenizer from texts");
  auto c = std::make_shared<TokenizerTrainCommand>();
  TokenizerTrainingOptions& o = c->options;
  command->add_option("INPUTS", o.inputs, "files and folders of text")->required();
  command->add_option("-o,--output", c->folder, "folder to write tokenizer.json into")
      ->required()
      ->type_name("FOLDER");
  command->add_option("--vocab-size", o.vocab_size, "tokens in all, special ones included")
      ->required()
      ->type_name("N");
  add_document_options(*command, o.documents);
  command
      ->add_option("--limit-bytes", o.limit_bytes,
                   "take no more documents than it takes to reach so many bytes of text; 0: all")
      ->check(CLI::NonNegativeNumber.description(""))
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--min-frequency", o.min_frequency, "merge no pair that comes less often")
      ->check(CLI::PositiveNumber.description(""))
      ->type_name("N")
      ->capture_default_str();
  add_processor_options(*command, c->engine);
  command->footer(R"(
Byte-level BPE with DeepSeek-V3's pre-tokenizer. Merges are those that the BpeTrainer of Hugging Face's
tokenizers learns: the most frequent pair first, ties to the smaller ids. The folder gets tokenizer.json
and tokenizer_config.json with a chat template; transformers and dsv3 load it. Tokens are, in this
order: <｜begin▁of▁sentence｜>, <｜end▁of▁sentence｜>, <｜▁pad▁｜>, the 256 bytes, merges, three of
Fill-in-Middle, <｜User｜>, <｜Assistant｜>.

Inputs are read as dsv3 prepare reads them.

Examples:
  dsv3 tokenizer-train stories.txt -o tok --vocab-size 4096 --document-separator '<|endoftext|>'
  dsv3 tokenizer-train corpus/ -o tok --vocab-size 65536 --field content --limit-bytes 2000000000
  dsv3 tokenize tok "Once upon a time")");
  command->callback([c, &action] { action = [c] { return run_tokenizer_train(*c); }; });
}

}  // namespace dsv3::cli
