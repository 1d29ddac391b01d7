// dsv3 eval: perplexity of a text, and multiple choice by likelihood.

#include <fmt/format.h>

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
#include "cli/generate_report.h"
#include "cli/ids_file.h"
#include "cli/model_tokenizer.h"
#include "cli/units.h"
#include "generation/evaluation.h"

namespace dsv3::cli {
namespace {

using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

struct EvalOptions {
  fs::path model;
  std::optional<fs::path> file, ids, choices, tokenizer;
  int64_t window = 0, stride = 0;
  int64_t batch_tokens = 2048;
  std::string delimiter = " ";
  bool second_halves = false;
  bool json = false;
  bool details = false;
  EngineOptions engine;
};

std::vector<generation::ChoiceItem> read_choices(const fs::path& path) {
  const std::string text = read_file(path);
  std::vector<generation::ChoiceItem> items;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    items.push_back(
        generation::parse_choice_item(line, fmt::format("{}:{}", path.string(), number)));
  }
  if (items.empty()) fail("{}: there is no question in it", path.string());
  return items;
}

class Evaluation {
 public:
  explicit Evaluation(const EvalOptions& options) : options_(options) {}

  int run() {
    if (int(options_.file.has_value()) + int(options_.ids.has_value()) +
            int(options_.choices.has_value()) !=
        1) {
      throw UsageError("give one of FILE, --ids and --choices");
    }
    if (options_.second_halves && (options_.choices || options_.stride > 0)) {
      throw UsageError("--second-halves goes with a text and without --stride");
    }
    apply_processor_options(options_.engine);
    tokenizer_ = model_tokenizer(options_.model, options_.tokenizer);
    if (!tokenizer_ && !options_.ids) {
      fail("{}: the model has no tokenizer: give token ids as --ids, or a --tokenizer",
           options_.model.string());
    }
    // Before the weights: what is wrong with the request should not take a minute to be said.
    std::vector<int64_t> ids;
    std::vector<generation::ChoiceItem> items;
    if (options_.choices) {
      items = read_choices(*options_.choices);
    } else {
      ids = options_.ids ? read_ids(*options_.ids)
                         : tokenizer_->encode_prompt(read_file(*options_.file));
    }
    generation::TokenScorer scorer(
        DeepseekV3ForCausalLM::from_pretrained(options_.model, options_.engine.load_options()),
        options_.batch_tokens, options_.engine.cache_type());
    clear_progress();
    begin_ = Clock::now();
    options_.choices ? report_choices(scorer, items) : report_text(scorer, ids);
    return kDone;
  }

 private:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }
  static void progress(int64_t done, int64_t total) { report_progress("evaluating", done, total); }

  /// What prompts begin with.
  std::optional<int64_t> bos() const {
    const std::vector<int64_t> empty =
        tokenizer_ ? tokenizer_->encode_prompt("") : std::vector<int64_t>();
    return empty.empty() ? std::nullopt : std::optional(empty.front());
  }

  void report_text(generation::TokenScorer& scorer, const std::vector<int64_t>& ids) const {
    const int64_t window =
        options_.window > 0 ? options_.window : scorer.config().max_position_embeddings;
    const int64_t stride = options_.stride > 0 ? options_.stride : window;
    const generation::TextLoss loss =
        options_.second_halves
            ? generation::evaluate_second_halves(scorer, ids, window, bos(), progress)
            : generation::evaluate_text(scorer, ids, {window, stride},
                                        tokenizer_ ? &*tokenizer_ : nullptr, progress);
    clear_progress();
    const double accuracy = static_cast<double>(loss.likeliest) / static_cast<double>(loss.tokens);
    const double took = seconds();
    if (options_.json) {
      Json json = {{"tokens", loss.tokens},
                   {"windows", loss.windows},
                   {"window", window},
                   {"stride", stride},
                   {"mean_cross_entropy", loss.cross_entropy()},
                   {"perplexity", loss.perplexity()},
                   {"bits_per_byte", nullptr},
                   {"bytes", nullptr},
                   {"top1_accuracy", accuracy},
                   {"seconds", took}};
      if (const auto bits = loss.bits_per_byte()) {
        json["bits_per_byte"] = *bits;
        json["bytes"] = loss.bytes;
      }
      write_out(json_line(json));
      return;
    }
    const auto line = [](const char* name, const std::string& value) {
      write_out(fmt::format("{:<14} {}\n", name, value));
    };
    line("tokens",
         fmt::format("{} in {} window{} of {} at stride {}", with_commas(loss.tokens),
                     with_commas(loss.windows), loss.windows == 1 ? "" : "s", window, stride));
    line("cross-entropy", fmt::format("{:.6f} nats per token", loss.cross_entropy()));
    line("perplexity", fmt::format("{:.4f}", loss.perplexity()));
    if (const auto bits = loss.bits_per_byte()) {
      line("bits per byte", fmt::format("{:.4f} over {} bytes", *bits, with_commas(loss.bytes)));
    }
    line("top-1", fmt::format("{:.2f} % of tokens were the likeliest", 100 * accuracy));
    line("speed", fmt::format("{:.0f} tokens/s", static_cast<double>(loss.tokens) / took));
  }

  void report_choices(generation::TokenScorer& scorer,
                      const std::vector<generation::ChoiceItem>& items) const {
    const std::vector<generation::ChoiceScore> scores =
        generation::score_choices(scorer, *tokenizer_, items, options_.delimiter, progress);
    clear_progress();
    int64_t right = 0, right_normalised = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      right += scores[i].chosen == items[i].answer ? 1 : 0;
      right_normalised += scores[i].chosen_normalised == items[i].answer ? 1 : 0;
      if (options_.details) {
        write_out(json_line({{"choice", scores[i].chosen},
                             {"choice_normalised", scores[i].chosen_normalised},
                             {"answer", items[i].answer},
                             {"logprobs", scores[i].logprobs},
                             {"is_greedy", scores[i].is_greedy}}));
      }
    }
    const auto n = static_cast<double>(items.size());
    const double accuracy = static_cast<double>(right) / n;
    const double normalised = static_cast<double>(right_normalised) / n;
    if (options_.json) {
      write_out(json_line({{"questions", items.size()},
                           {"accuracy", accuracy},
                           {"accuracy_normalised", normalised},
                           {"seconds", seconds()}}));
      return;
    }
    write_out(fmt::format("questions            {}\n", with_commas(int64_t(items.size()))));
    write_out(fmt::format("accuracy             {:.4f}\n", accuracy));
    write_out(fmt::format("normalised accuracy  {:.4f}\n", normalised));
  }

  const EvalOptions& options_;
  std::optional<Tokenizer> tokenizer_;
  Clock::time_point begin_;
};

}  // namespace

void add_eval_command(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("eval", "Measure perplexity on a text, or accuracy on multiple choice");
  auto options = std::make_shared<EvalOptions>();
  command->add_option("MODEL", options->model, "folder of a model, or a GGUF file")->required();
  command->add_option("FILE", options->file, "a text");
  command->add_option("--ids", options->ids, "instead, token ids: 32-bit little-endian integers")
      ->type_name("FILE");
  command->add_option("--choices", options->choices, "instead, multiple-choice questions")
      ->type_name("FILE");
  const auto positive = CLI::Range(int64_t{1}, int64_t{1} << 40).description("");
  command
      ->add_option("--window", options->window,
                   "input tokens of a window; default: all that the model allows")
      ->type_name("N")
      ->check(positive);
  command
      ->add_option("--stride", options->stride,
                   "tokens between the beginnings of two windows; default: --window")
      ->type_name("N")
      ->check(positive);
  command->add_flag("--second-halves", options->second_halves,
                    "as llama-perplexity: windows without overlap that begin with BOS, and of each "
                    "only the second half predicted");
  command
      ->add_option("--batch-tokens", options->batch_tokens,
                   "tokens that one forward pass takes, of several windows or questions")
      ->type_name("N")
      ->check(positive)
      ->capture_default_str();
  command
      ->add_option("--delimiter", options->delimiter,
                   "text between question and choice; default: a space")
      ->type_name("TEXT");
  command->add_flag("--details", options->details,
                    "with --choices, a JSON object for each question first");
  command->add_flag("--json", options->json, "one JSON object instead of text");
  command
      ->add_option("--tokenizer", options->tokenizer,
                   "tokenizer.json, or a folder with one; default: MODEL's")
      ->type_name("PATH");
  add_engine_options(*command, options->engine, true);
  add_cache_type_option(*command, options->engine);
  command->footer(R"(
A text is encoded as a prompt, with BOS in front where tokenizer_config.json says add_bos_token;
token ids are taken as they are. A window is a fresh sequence of --window input tokens, and predicts
what follows each of them but for what the window before it has predicted.

Questions of --choices are an object on each line: {"question": ..., "choices": [...], "answer": 0}
("context" is another name of "question"). A choice's score is the log-probability of its text after
the question and --delimiter, as in lm-evaluation-harness; normalised, it is divided by the bytes of
the choice.

Examples:
  dsv3 eval models/stories README.md --window 256
  dsv3 eval models/stories --ids models/stories/valid_slice.bin --window 256 --stride 256
  dsv3 eval ~/models/DeepSeek-V3 book.txt --window 4096 --stride 2048 --json
  dsv3 eval model.gguf wiki.test.raw --window 512 --second-halves
  dsv3 eval models/stories --choices questions.jsonl)");
  command->callback(
      [options, &action] { action = [options] { return Evaluation(*options).run(); }; });
}

}  // namespace dsv3::cli
