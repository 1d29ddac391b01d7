#pragma once

#include <termios.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace dsv3::testing {

/// A program on a pseudo-terminal, as a person at a keyboard meets it. Failures to start or to show
/// what is waited for are exceptions with what was on the terminal.
class PseudoTerminal {
 public:
  /// `environment` is added to that of the test; TERM is xterm unless it says otherwise.
  PseudoTerminal(const std::vector<std::string>& command,
                 const std::map<std::string, std::string>& environment);
  /// Kills the program if it still runs.
  ~PseudoTerminal();
  PseudoTerminal(const PseudoTerminal&) = delete;
  PseudoTerminal& operator=(const PseudoTerminal&) = delete;

  void type(std::string_view keys);
  /// What comes until `text` has come, which is the last of it. Each byte is given out once.
  std::string wait_for(const std::string& text);
  /// Reads that it took to get what has come so far.
  int reads() const { return reads_; }
  /// What comes until the program ends, and its status as waitpid gives it.
  std::string wait_for_end(int& status);
  void send_signal(int signal) const;
  void resize(unsigned short columns, unsigned short rows) const;
  /// The settings of the terminal now.
  struct termios settings() const;

 private:
  /// False at the end of output; throws after a time without any.
  bool read_more();
  void stop();

  int fd_ = -1;
  int pid_ = -1;
  int reads_ = 0;
  std::string unread_;
};

}  // namespace dsv3::testing
