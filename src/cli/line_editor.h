#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace dsv3::cli {

/// Lines that a person types, with editing and history on a terminal; from a pipe or a dumb
/// terminal, lines as they come.
class LineEditor {
 public:
  /// The history is read from `history_file` and kept there; "" for none.
  explicit LineEditor(std::filesystem::path history_file);

  enum class End { kLine, kCtrlC, kEndOfInput };
  struct Input {
    End end = End::kLine;
    std::string text;
  };
  /// Shows the prompt (on a terminal) and reads one line without its end. Ctrl-C gives
  /// kCtrlC.
  Input read(const std::string& prompt);
  /// Adds a line to the history.
  void remember(const std::string& line);

  /// Whether somebody sits at a terminal.
  bool interactive() const { return interactive_; }
  /// Whether it understands escape sequences.
  bool styled() const { return styled_; }

 private:
  bool interactive_, styled_;
  std::filesystem::path history_file_;
};

}  // namespace dsv3::cli
