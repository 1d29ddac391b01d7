// `dsv3 chat`: a conversation at the terminal.
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <sstream>

#include "cli/chat_options.h"
#include "cli/chat_session.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/engine_options.h"
#include "cli/generate_options.h"
#include "cli/line_editor.h"
#include "dsv3/model.h"
#include "generation/engine_lm.h"

namespace dsv3::cli {
namespace {

struct Options {
  std::string model, system, load, template_kwargs;
  std::optional<std::filesystem::path> template_file;
  bool hide_reasoning = false, stats = false, allow_special = false;
  GenerationOptions generation;
  EngineOptions engine;
};

constexpr const char* kHelp =
    "/help                what you are reading\n"
    "/system [TEXT]       replace the system message; without TEXT, remove it\n"
    "/retry               another answer to the last question\n"
    "/undo                forget the last question and its answer\n"
    "/reset               forget everything but the system message\n"
    "/save FILE           write the conversation, as JSON\n"
    "/load FILE           go on with a saved conversation\n"
    "/set NAME VALUE      a generation setting: /set temperature 0.7\n"
    "/tokens              how much of the context is used\n"
    "/quit                end (so does Ctrl-D)\n"
    "A line that ends with \\ goes on; \"\"\" alone begins and ends a text of many lines.\n"
    "Ctrl-C stops an answer.\n";

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

// Shows an answer as it comes: reasoning dimmed, or not at all.
class AnswerPrinter {
 public:
  AnswerPrinter(bool styled, bool hide_reasoning)
      : styled_(styled), hide_reasoning_(hide_reasoning) {}

  void show(const AnswerEvent& event) {
    using Kind = AnswerEvent::Kind;
    switch (event.kind) {
      case Kind::kReasoning:
        return hide_reasoning_ ? note_hidden() : print(event.text, true);
      case Kind::kContent:
        return print(event.text, false);
      case Kind::kCallBegin:
        return print(fmt::format("[{} ", event.text), true);
      case Kind::kCallArguments:
        return print(event.text, true);
      case Kind::kCallEnd:
      case Kind::kCallCancelled:
        return print("]\n", true);
      case Kind::kMark:
        return;
    }
  }
  void end() {
    dim(false);
    if (!at_line_start_) write_out("\n");
    flush_out();
  }

 private:
  void dim(bool on) {
    if (on == dimmed_) return;
    // Between reasoning and answer a line stays free.
    if (!on && !at_line_start_) write_out("\n");
    if (!on) write_out("\n");
    if (styled_) write_out(on ? "\x1b[2m" : "\x1b[0m");
    dimmed_ = on;
  }
  void note_hidden() {
    if (!hidden_noted_ && styled_) write_err("(thinking)\n");
    hidden_noted_ = true;
  }
  void print(const std::string& text, bool dimmed) {
    if (text.empty()) return;
    dim(dimmed);
    write_out(text);
    flush_out();
    at_line_start_ = text.back() == '\n';
  }

  bool styled_, hide_reasoning_;
  bool dimmed_ = false, hidden_noted_ = false, at_line_start_ = true;
};

class Chat {
 public:
  Chat(const Options& options, ChatSession& session)
      : options_(options), session_(session), editor_(history_file()) {}

  int run() {
    if (editor_.interactive()) {
      write_err("Type a question; /help shows the commands, Ctrl-D ends.\n");
    }
    while (true) {
      std::string text;
      switch (read_message(text)) {
        case LineEditor::End::kEndOfInput:
          return kDone;
        case LineEditor::End::kCtrlC:
          continue;
        case LineEditor::End::kLine:
          break;
      }
      if (text.find_first_not_of(" \t\n") == std::string::npos) continue;
      editor_.remember(text);
      try {
        if (text[0] != '/') {
          ask(text);
        } else if (!run_command(text)) {
          return kDone;
        }
      } catch (const Error& e) {
        note(fmt::format("error: {}", e.what()));
        // From a script, what follows would be answers to something else.
        if (!editor_.interactive()) return kFailed;
      }
    }
  }

 private:
  // One message: a line, several that end with a backslash, or what stands between """ and """.
  LineEditor::End read_message(std::string& text) {
    LineEditor::Input input = editor_.read("> ");
    if (input.end != LineEditor::End::kLine) return input.end;
    const bool block = input.text == "\"\"\"";
    if (!block) text = input.text;
    while (block || (!text.empty() && text.back() == '\\')) {
      if (!block) text.back() = '\n';
      input = editor_.read("… ");
      if (input.end == LineEditor::End::kCtrlC) return input.end;
      if (input.end == LineEditor::End::kEndOfInput) break;
      if (block && input.text == "\"\"\"") break;
      text += input.text;
      if (block) text += '\n';
    }
    if (block && !text.empty()) text.pop_back();
    return LineEditor::End::kLine;
  }

  void ask(const std::string& question) {
    AnswerPrinter printer(editor_.styled(), options_.hide_reasoning);
    const InterruptGuard guard;
    const TurnStats stats = session_.ask(question, [&](const AnswerEvent& event) {
      printer.show(event);
      return !interrupted();
    });
    printer.end();
    if (stats.finish_reason == FinishReason::kLength) {
      note("the answer was cut off: max_new_tokens or the context's end");
    }
    if (!options_.stats) return;
    write_err(fmt::format(
        "[prompt {} tokens, {} of them from the cache; answer {} tokens, {}; {:.2f} s]\n",
        stats.prompt_tokens, stats.reused_tokens, stats.new_tokens,
        finish_reason_name(stats.finish_reason), stats.seconds));
  }

  // False: the conversation is over.
  bool run_command(const std::string& line) {
    const size_t space = line.find_first_of(" \n");
    const std::string name = line.substr(0, space);
    std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
    if (name == "/quit" || name == "/exit") return false;
    if (name == "/help") {
      write_err(kHelp);
    } else if (name == "/system") {
      session_.set_system(rest);
      note(rest.empty() ? "no system message" : "system message set");
    } else if (name == "/reset") {
      session_.reset();
      note("a new conversation");
    } else if (name == "/undo") {
      note(fmt::format("forgotten: {}", session_.undo()));
    } else if (name == "/retry") {
      retry();
    } else if (name == "/save") {
      session_.save(required(rest, "/save FILE"));
      note("saved to " + rest);
    } else if (name == "/load") {
      session_.load(required(rest, "/load FILE"));
      note(fmt::format("{} messages loaded", session_.messages().size()));
    } else if (name == "/set") {
      set(rest);
    } else if (name == "/tokens") {
      note(fmt::format("{} of {} tokens", session_.tokens(), session_.context()));
    } else {
      fail("unknown command '{}'; /help shows what there is", name);
    }
    return true;
  }

  void retry() {
    const Json before = session_.messages();
    const std::string question = session_.undo();
    // Sampling again with the same seed would give the same answer.
    ++session_.config().seed;
    try {
      ask(question);
    } catch (...) {
      session_.restore(before);
      throw;
    }
  }

  void set(const std::string& setting) {
    std::istringstream in(setting);
    std::string name, value;
    in >> name;
    std::getline(in >> std::ws, value);
    required(value, "/set NAME VALUE");
    const Json parsed = Json::parse(value, nullptr, false);
    GenerationConfig changed = session_.config();
    changed.apply(Json{{name, parsed.is_discarded() ? Json(value) : parsed}}.dump(), "/set");
    changed.validate("/set");
    session_.config() = changed;
    note(fmt::format("{} is {}", name, value));
  }

  static const std::string& required(const std::string& argument, const char* usage) {
    if (argument.empty()) fail("expected {}", usage);
    return argument;
  }

  const Options& options_;
  ChatSession& session_;
  LineEditor editor_;
};

int run(const Options& options) {
  apply_processor_options(options.engine);
  const DeepseekV3Config config = DeepseekV3Config::from_file(options.model);
  const Tokenizer tokenizer = Tokenizer::from_file(options.model);
  const ChatTemplate chat_template = load_chat_template(options.model, options.template_file);
  const GenerationConfig generation =
      options.generation.apply_to(GenerationConfig::from_folder(options.model, config));
  if (generation.num_beams > 1 || generation.num_return_sequences > 1) {
    throw UsageError(
        "a chat has one answer: --num-beams and --num-return-sequences are not for it");
  }
  const auto model =
      DeepseekV3ForCausalLM::from_pretrained(options.model, options.engine.load_options());
  clear_progress();
  generation::EngineLm engine(model, {options.engine.cache_type(), options.engine.context});
  ChatSession session(engine, tokenizer, chat_template, generation);
  if (options.allow_special) session.allow_special_tokens();
  session.set_template_kwargs(options.template_kwargs);
  if (!options.load.empty()) session.load(options.load);
  if (!options.system.empty()) session.set_system(options.system);
  return Chat(options, session).run();
}

}  // namespace

void add_chat_command(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("chat", "Talk with a model");
  command->add_option("MODEL", options->model, "Folder of the model")->required();
  command->add_option("--system", options->system, "System message");
  command->add_option("--load", options->load, "Go on with a conversation that /save has written");
  command->add_option("--template", options->template_file,
                      "Chat template (Jinja) instead of the model's own");
  command->add_option("--template-kwargs", options->template_kwargs,
                      "Variables of the template, a JSON object: '{\"thinking\": true}'");
  command->add_flag("--hide-reasoning", options->hide_reasoning,
                    "Do not show what the model thinks");
  command->add_flag("--stats", options->stats, "Tokens and seconds of each turn");
  command->add_flag("--allow-special", options->allow_special,
                    "Texts of special tokens in messages are special tokens");
  add_generation_options(*command, options->generation);
  add_engine_options(*command, options->engine);
  add_cache_options(*command, options->engine);
  command->footer(std::string("In the conversation:\n") + kHelp +
                  "\nExamples:\n"
                  "  dsv3 chat ~/models/Moonlight-16B-A3B-Instruct --temperature 0.6\n"
                  "  echo \"What is MLA?\" | dsv3 chat ~/models/DeepSeek-V3 --hide-reasoning");
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace dsv3::cli
