#include "cli/line_editor.h"

#include <editline/readline.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>

#include "cli/console.h"

namespace dsv3::cli {
namespace {

constexpr int kHistoryLines = 1000;

bool dumb_terminal() {
  const char* terminal = std::getenv("TERM");
  return terminal == nullptr || *terminal == '\0' || std::strcmp(terminal, "dumb") == 0;
}

}  // namespace

LineEditor::LineEditor(std::filesystem::path history_file)
    : interactive_(isatty(STDIN_FILENO) != 0 && isatty(STDERR_FILENO) != 0),
      styled_(interactive_ && !dumb_terminal() && isatty(STDOUT_FILENO) != 0),
      history_file_(std::move(history_file)) {
  if (!styled_) return;
  std::setlocale(LC_CTYPE, "");  // the editor moves by characters
  // Data go to standard output: the editor draws its line on standard error.
  rl_outstream = stderr;
  using_history();
  stifle_history(kHistoryLines);
  if (!history_file_.empty()) read_history(history_file_.c_str());
}

LineEditor::Input LineEditor::read(const std::string& prompt) {
  const InterruptGuard guard;
  if (styled_) {
    const std::unique_ptr<char, decltype(&std::free)> line(readline(prompt.c_str()), &std::free);
    if (interrupted()) {
      write_err("\n");
      return {End::kCtrlC, ""};
    }
    if (line == nullptr) {
      write_err("\n");
      return {End::kEndOfInput, ""};
    }
    return {End::kLine, line.get()};
  }
  if (interactive_) write_err(prompt);
  std::string line;
  if (std::getline(std::cin, line)) return {End::kLine, line};
  if (interrupted()) {
    std::cin.clear();
    clearerr(stdin);
    write_err("\n");
    return {End::kCtrlC, ""};
  }
  if (interactive_) write_err("\n");
  return {End::kEndOfInput, ""};
}

void LineEditor::remember(const std::string& line) {
  if (!styled_ || line.empty()) return;
  add_history(line.c_str());
  if (!history_file_.empty()) write_history(history_file_.c_str());
}

}  // namespace dsv3::cli
