#pragma once

#include <string_view>

// Standard output carries data, standard error everything else.
namespace dsv3::cli {

/// Whoever read our standard output has closed it (`| head`): time to leave, quietly.
class OutputClosed {};

/// Writes to standard output. Throws OutputClosed, or Error for a disk that is full and the like.
void write_out(std::string_view text);
/// Makes sure that what was written has arrived; throws as write_out does.
void flush_out();
/// A line on standard error, `dsv3: ` in front; clears a progress bar that is in its way.
void note(std::string_view line);
/// A line on standard error as it is.
void write_err(std::string_view line);

/// At start: warnings and notes of the library go to standard error, progress of jobs that take
/// over a second too if that is a terminal; a closed standard output is an exception and not a
/// signal.
void set_up_console();
/// Removes the progress bar, if there is one.
void clear_progress();

/// While one exists, the first Ctrl-C only makes `interrupted` true. A second one ends the program,
/// or, where `patient`, says how to end it.
class InterruptGuard {
 public:
  explicit InterruptGuard(bool patient = false);
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};
/// While one exists, the first SIGINT or SIGTERM only is what `stop_signal` returns from then on; a
/// second one ends the program as if there were no guard.
class StopGuard {
 public:
  StopGuard();
  ~StopGuard();
  StopGuard(const StopGuard&) = delete;
  StopGuard& operator=(const StopGuard&) = delete;
};
/// 0: none yet.
int stop_signal();
bool interrupted();
void clear_interrupt();

}  // namespace dsv3::cli
