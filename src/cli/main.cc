// The program `dsv3`: finds the subcommand, runs it and turns what goes wrong into exit codes.

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "base/suggestion.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/help_formatter.h"
#include "dsv3/error.h"

namespace dsv3::cli {
namespace {

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

/// CLI11 would take a mistyped command for a superfluous argument.
void require_known_command(const CLI::App& app, int argc, char** argv) {
  const std::vector<std::string> names = command_names(app);
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.empty() || word[0] != '-') {
      if (std::find(names.begin(), names.end(), word) != names.end()) return;
      throw UsageError(fmt::format("unknown command '{}'{}", word, suggestion(word, names)));
    }
    if (word == "-h" || word == "--help" || word == "--version") return;
    throw UsageError(fmt::format("unknown option '{}' before the command{}", word,
                                 suggestion(word, {"--help", "--version"})));
  }
  throw UsageError(fmt::format("no command given; there are: {}", fmt::join(names, ", ")));
}

/// What CLI11 could not take in, as a message of one line.
std::string usage_message(const CLI::ParseError& error, const CLI::App& command) {
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    for (const std::string& word : command.remaining()) {
      if (word.size() < 2 || word[0] != '-') continue;
      const std::string name = word.substr(0, word.find('='));
      return fmt::format("unknown option '{}'{}", name, suggestion(name, option_names(command)));
    }
    if (!command.remaining().empty())
      return fmt::format("unexpected argument '{}'", command.remaining().front());
  }
  std::string message = error.what();
  if (dynamic_cast<const CLI::ConversionError*>(&error) != nullptr) {
    constexpr std::string_view kMark = ": ";  // "Could not convert: --top-k = x"
    message =
        "cannot read the value of an option: " + message.substr(message.find(kMark) + kMark.size());
  }
  std::replace(message.begin(), message.end(), '\n', ' ');
  return message;
}

int usage_error(const CLI::App& app, const std::string& message) {
  const auto chosen = app.get_subcommands();
  note("error: " + message);
  write_err(
      fmt::format("Try 'dsv3 {}--help'.", chosen.empty() ? "" : chosen.front()->get_name() + " "));
  return kUsage;
}

int run(int argc, char** argv) {
  CLI::App app("DeepSeek-V3 and its relatives on this computer.", "dsv3");
  app.set_version_flag("--version", "dsv3 " DSV3_VERSION);
  app.formatter(help_formatter());
  app.footer(R"(
Examples:
  dsv3 generate models/stories -p "Once upon a time"
  dsv3 inspect ~/models/DeepSeek-V3
  dsv3 verify ~/models/DeepSeek-V3
'dsv3 COMMAND --help' tells more.)");
  Action action;
  add_generate_command(app, action);
  add_inspect_command(app, action);
  add_verify_command(app, action);
  add_chat_command(app, action);
  add_eval_command(app, action);
  add_bench_command(app, action);
  add_imatrix_command(app, action);
  add_quantize_command(app, action);
  add_train_command(app, action);
  add_plot_command(app, action);
  add_tokenize_command(app, action);
  add_detokenize_command(app, action);
  add_template_command(app, action);
  add_tokenizer_train_command(app, action);
  add_prepare_command(app, action);
  add_forward_command(app, action);

  try {
    require_known_command(app, argc, argv);
    app.parse(argc, argv);
    const int code = action ? action() : kDone;
    flush_out();
    return code;
  } catch (const CLI::CallForHelp&) {
    write_out(app.help());
  } catch (const CLI::CallForVersion& version) {
    write_out(fmt::format("{}\n", version.what()));
  } catch (const CLI::ParseError& error) {
    const auto chosen = app.get_subcommands();
    return usage_error(app, usage_message(error, chosen.empty() ? app : *chosen.front()));
  } catch (const UsageError& error) {
    return usage_error(app, error.what());
  }
  flush_out();
  return kDone;
}

/// `run`, with a message for everything else that may leave it.
int guarded_run(int argc, char** argv) {
  set_up_console();
  try {
    return run(argc, argv);
  } catch (const OutputClosed&) {
    return kDone;
  } catch (const Error& error) {
    note(fmt::format("error: {}", error.what()));
  } catch (const std::bad_alloc&) {
    note("error: not enough memory");
  } catch (const std::exception& error) {
    note(fmt::format("error: {}", error.what()));
  }
  return kFailed;
}

}  // namespace
}  // namespace dsv3::cli

int main(int argc, char** argv) { return dsv3::cli::guarded_run(argc, argv); }
