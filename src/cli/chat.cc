// `dsv3 chat`: a conversation at the terminal.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>

#include "cli/answer_printer.h"
#include "cli/chat_commands.h"
#include "cli/chat_options.h"
#include "cli/chat_session.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/engine_options.h"
#include "cli/generate_options.h"
#include "cli/observed_lm.h"
#include "dsv3/model.h"
#include "generation/engine_lm.h"
#include "terminal/line_editor.h"
#include "terminal/raw_mode.h"

namespace dsv3::cli {
namespace {

using terminal::LineEditor;

struct Options {
  std::string model, load;
  std::optional<std::string> system, template_kwargs, answer_format;
  std::optional<std::filesystem::path> template_file;
  bool hide_reasoning = false, stats = false, allow_special = false;
  GenerationOptions generation;
  EngineOptions engine;
};

std::filesystem::path history_file() {
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path folder;
  if (state != nullptr && *state != '\0') {
    folder = state;
  } else if (home != nullptr && *home != '\0') {
    folder = std::filesystem::path(home) / ".local/state";
  } else {
    return {};
  }
  std::error_code ignored;
  std::filesystem::create_directories(folder / "dsv3", ignored);
  return ignored ? std::filesystem::path() : folder / "dsv3" / "chat_history";
}

/// Whether escape sequences on standard output mean something to somebody.
bool output_is_styled() { return isatty(STDOUT_FILENO) != 0 && !terminal::is_dumb_terminal(); }

class Chat {
 public:
  Chat(const Options& options, ChatSession& session)
      : options_(options),
        session_(session),
        commands_(session, [this](const std::string& question) { ask(question); }),
        editor_({.history_file = history_file(),
                 .completions = ChatCommands::names(),
                 .interrupted = interrupted}) {}

  int run() {
    if (editor_.interactive()) {
      write_err(fmt::format("{}: a context of {} tokens. /help shows the commands, Ctrl-D ends.",
                            options_.model, session_.context()));
    }
    while (true) {
      clear_interrupt();
      std::string text;
      const LineEditor::End end = read_message(text);
      if (end == LineEditor::End::kEndOfInput) return kDone;
      if (end == LineEditor::End::kCtrlC) {
        if (!editor_.interactive()) return kInterrupted;
        if (text.empty()) note("Ctrl-D or /quit ends the conversation");
        continue;
      }
      if (text.find_first_not_of(" \t\n") == std::string::npos) continue;
      const bool is_command = ChatCommands::is_command(text);
      if (is_command && ChatCommands::ends(text)) return kDone;
      editor_.remember(text);
      try {
        is_command ? commands_.run(text) : ask(text);
      } catch (const Interrupted&) {
        note("stopped before the answer began: the question is forgotten");
      } catch (const Error& e) {
        note(fmt::format("error: {}", e.what()));
        // From a script, what follows would be answers to something else.
        if (!editor_.interactive()) return kFailed;
      }
      if (interrupted() && !editor_.interactive()) return kInterrupted;
    }
  }

 private:
  /// One message: an input, lines that end with a backslash, or what stands between """ and """.
  LineEditor::End read_message(std::string& text) {
    constexpr std::string_view kFence = "\"\"\"";
    LineEditor::Input input = editor_.read("> ");
    text = input.text;
    if (input.end != LineEditor::End::kEntered) return input.end;
    const bool fenced = text.starts_with(kFence);
    if (fenced) text.erase(0, kFence.size());
    const auto complete = [&] { return fenced ? text.ends_with(kFence) : !text.ends_with('\\'); };
    while (!complete()) {
      if (!fenced) text.pop_back();
      input = editor_.read("\xE2\x80\xA6 ");  // …
      if (input.end == LineEditor::End::kCtrlC) return input.end;
      if (input.end == LineEditor::End::kEndOfInput) return LineEditor::End::kEntered;
      text += '\n' + input.text;
    }
    if (fenced) {
      text.resize(text.size() - kFence.size());
      // The fences may have lines of their own.
      if (text.ends_with('\n')) text.pop_back();
      if (text.starts_with('\n')) text.erase(0, 1);
    }
    return LineEditor::End::kEntered;
  }

  void ask(const std::string& question) {
    const bool styled = output_is_styled();
    AnswerPrinter printer(styled ? AnswerPrinter::Style::kTerminal : AnswerPrinter::Style::kPlain,
                          options_.hide_reasoning);
    std::optional<terminal::StyleGuard> guard;
    if (styled) guard.emplace(STDOUT_FILENO);
    const auto show = [](const std::string& text) {
      if (text.empty()) return;
      write_out(text);
      flush_out();
    };
    const TurnStats stats = session_.ask(question, [&](const AnswerEvent& event) {
      show(printer.print(event));
      return !interrupted();
    });
    show(printer.end());
    report(stats);
  }

  void report(const TurnStats& stats) const {
    if (stats.context_full) {
      note("the context is full, which ended the answer: /undo or /reset makes room");
    } else if (stats.finish_reason == FinishReason::kLength) {
      const GenerationConfig& config = session_.config();
      const bool by_count = config.max_new_tokens && stats.new_tokens >= *config.max_new_tokens;
      note(fmt::format("the answer was cut off by {}: /set changes it",
                       by_count                ? fmt::format("max_new_tokens {}", stats.new_tokens)
                       : config.max_new_tokens ? "max_time"
                                               : "max_length or max_time"));
    }
    if (!options_.stats) return;
    const double decode_seconds = stats.seconds - stats.seconds_to_first;
    const double speed =
        decode_seconds > 0 ? static_cast<double>(stats.new_tokens - 1) / decode_seconds : 0;
    write_err(fmt::format(
        "[prompt {} tokens, {} of them from the cache, {:.2f} s; answer {} tokens, {}, {:.1f} "
        "tokens/s]",
        stats.prompt_tokens, stats.reused_tokens, stats.seconds_to_first, stats.new_tokens,
        finish_reason_name(stats.finish_reason), speed));
  }

  const Options& options_;
  ChatSession& session_;
  ChatCommands commands_;
  LineEditor editor_;
};

ChatSettings settings_of(const Options& options, const DeepseekV3Config& config) {
  ChatSettings settings;
  // What nobody limits ends with the context: reasoning is long, and half an answer is none.
  settings.generation = options.generation.apply_to(
      GenerationConfig::from_folder(options.model, config), std::nullopt);
  if (settings.generation.num_beams > 1 || settings.generation.num_return_sequences > 1) {
    throw UsageError(
        "a chat has one answer: --num-beams and --num-return-sequences are not for it");
  }
  if (options.template_kwargs) {
    set_template_kwargs(settings.prompt, parse_json(*options.template_kwargs, "--template-kwargs"),
                        "--template-kwargs");
  }
  if (options.answer_format) settings.answer_format = answer_format(*options.answer_format);
  if (options.allow_special) settings.special_tokens = SpecialTokensIn::kEverywhere;
  settings.stream_arguments = output_is_styled();
  settings.prefill_chunk = options.engine.prefill_chunk;
  return settings;
}

int run(const Options& options) {
  apply_processor_options(options.engine);
  const DeepseekV3Config config = DeepseekV3Config::from_file(options.model);
  // Before the weights: what is wrong with the request should not take a minute to be said.
  const Tokenizer tokenizer = Tokenizer::from_file(options.model);
  const ChatTemplate chat_template = load_chat_template(options.model, options.template_file);
  const ChatSettings settings = settings_of(options, config);
  const auto model =
      DeepseekV3ForCausalLM::from_pretrained(options.model, options.engine.load_options());
  clear_progress();
  generation::EngineLm engine(model, {options.engine.cache_type(), options.engine.context});
  ChatSession session(engine, tokenizer, chat_template, settings);
  if (!options.load.empty()) session.load(options.load);
  if (options.system) session.set_system(*options.system);
  // For the whole conversation: a Ctrl-C just after an answer's end must not end the program.
  const InterruptGuard guard(/*patient=*/true);
  return Chat(options, session).run();
}

}  // namespace

void add_chat_command(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("chat", "Talk with a model");
  command->add_option("MODEL", options->model, "folder of a model, or a GGUF file")->required();
  constexpr const char* kGroup = "Conversation";
  command->add_option("--system", options->system, "the system message")
      ->type_name("TEXT")
      ->group(kGroup);
  command->add_option("--load", options->load, "go on with a conversation that /save has written")
      ->type_name("FILE")
      ->group(kGroup);
  command
      ->add_option("--template", options->template_file,
                   "a Jinja file in the place of the model's template")
      ->type_name("FILE")
      ->group(kGroup);
  command
      ->add_option("--template-kwargs", options->template_kwargs,
                   "an object of variables for the template: '{\"thinking\": true}'")
      ->type_name("JSON")
      ->group(kGroup);
  add_answer_format_option(*command, options->answer_format, kGroup);
  command
      ->add_flag("--hide-reasoning", options->hide_reasoning,
                 "fold what the model thinks: only say that it does, and for how long")
      ->group(kGroup);
  command->add_flag("--stats", options->stats, "tokens and seconds of each turn")->group(kGroup);
  command
      ->add_flag("--allow-special", options->allow_special,
                 "let texts of special tokens in messages be special tokens")
      ->group(kGroup);
  add_generation_options(*command, options->generation, "as many as the context has room for");
  options->engine.huge_pages = "auto";
  add_engine_options(*command, options->engine);
  add_cache_options(*command, options->engine);
  command->footer(std::string("In the conversation:\n") + kChatHelp +
                  "\nExamples:\n"
                  "  dsv3 chat ~/models/Moonlight-16B-A3B-Instruct --temperature 0.6\n"
                  "  echo \"What is MLA?\" | dsv3 chat ~/models/DeepSeek-V3 --hide-reasoning");
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace dsv3::cli
