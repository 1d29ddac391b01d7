#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <stdexcept>
#include <string>

// The subcommands of `dsv3`, one file each. `add_<name>_command` adds the options; when the command
// line names the command, it puts what is to be done into `action`, which main runs after parsing.
namespace dsv3::cli {

/// Exit codes of the program.
inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;  ///< dsv3::Error and everything else that went wrong
inline constexpr int kUsage = 2;
inline constexpr int kInterrupted = 130;  ///< Ctrl-C, as shells report it: 128 + its signal

/// Returns the exit code.
using Action = std::function<int()>;

/// A command line that parses but makes no sense: exit code kUsage and a hint at --help.
class UsageError : public std::runtime_error {
 public:
  explicit UsageError(const std::string& message) : std::runtime_error(message) {}
};

void add_bench_command(CLI::App& app, Action& action);
void add_detokenize_command(CLI::App& app, Action& action);
void add_chat_command(CLI::App& app, Action& action);
void add_eval_command(CLI::App& app, Action& action);
void add_forward_command(CLI::App& app, Action& action);
void add_generate_command(CLI::App& app, Action& action);
void add_imatrix_command(CLI::App& app, Action& action);
void add_inspect_command(CLI::App& app, Action& action);
void add_prepare_command(CLI::App& app, Action& action);
void add_plot_command(CLI::App& app, Action& action);
void add_quantize_command(CLI::App& app, Action& action);
void add_template_command(CLI::App& app, Action& action);
void add_tokenize_command(CLI::App& app, Action& action);
void add_tokenizer_train_command(CLI::App& app, Action& action);
void add_train_command(CLI::App& app, Action& action);
void add_verify_command(CLI::App& app, Action& action);

}  // namespace dsv3::cli
