#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "terminal/history.h"
#include "terminal/keys.h"

namespace dsv3::terminal {

struct LineEditorOptions {
  std::filesystem::path history_file;    ///< "": history in memory only
  std::vector<std::string> completions;  ///< of the first word, by Tab
  /// Whether something has asked to stop reading, and called wake_up: then `read` gives kCtrlC.
  std::function<bool()> interrupted;
};

/// Inputs that a person types on standard input. On a terminal there is editing, history, search,
/// and text of many lines by pasting or Alt-Enter, drawn on standard error; from a pipe or a dumb
/// terminal lines come as they are.
class LineEditor {
 public:
  explicit LineEditor(LineEditorOptions options);

  enum class End { kEntered, kCtrlC, kEndOfInput };
  struct Input {
    End end = End::kEntered;
    std::string text;
  };
  /// Shows the prompt (on a terminal) and reads an input without its end. kCtrlC comes with what
  /// had been typed until then.
  Input read(const std::string& prompt);
  /// Adds to the history.
  void remember(const std::string& input);

  /// Whether somebody sits at a terminal.
  bool interactive() const { return interactive_; }

 private:
  enum class Arrival { kBytes, kNothing, kWakeUp, kEnd };
  Arrival wait_for_bytes(int milliseconds);
  Input read_plain(const std::string& prompt);
  Input edit(const std::string& prompt);

  LineEditorOptions options_;
  bool interactive_, editing_;
  History history_;
  KeyDecoder keys_;      // of what has been typed ahead
  std::string arrived_;  // the same, without editing
};

}  // namespace dsv3::terminal
