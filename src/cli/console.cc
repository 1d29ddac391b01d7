#include "cli/console.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "cli/units.h"
#include "terminal/waiting.h"

namespace dsv3::cli {
namespace {

using Clock = std::chrono::steady_clock;

void check_out(bool good) {
  if (good) return;
  if (errno == EPIPE) throw OutputClosed();
  fail("standard output: {}", std::strerror(errno));
}

/// "about 3 min left", of a job that has taken so many seconds for a part of its way; nothing while
/// it is too early to tell.
std::string time_left(double seconds, double fraction) {
  if (seconds < 5 || fraction <= 0) return "";
  const double left = seconds * (1 - fraction) / fraction;
  if (left < 90) return fmt::format("about {:.0f} s left", left);
  if (left < 90 * 60) return fmt::format("about {:.0f} min left", left / 60);
  return fmt::format("about {:.1f} h left", left / 3600);
}

/// One line that is redrawn in place: "loading [=====>    ]  52 % about 20 s left"; of bytes also
/// "1.2 GB, 35.1 MB/s".
class ProgressBar {
 public:
  void update(const std::string& what, int64_t done, int64_t total, ProgressUnit unit) {
    const auto now = Clock::now();
    if (what != what_) {
      clear();
      what_ = what;
      begin_ = now;
    }
    if (done >= total) {
      clear();
      what_.clear();
      return;
    }
    if (now - begin_ < std::chrono::seconds(1) || now - drawn_ < std::chrono::milliseconds(100))
      return;
    constexpr int kWidth = 40;
    const double fraction = static_cast<double>(done) / static_cast<double>(total);
    const int full = static_cast<int>(fraction * kWidth);
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    std::string more = time_left(seconds, fraction);
    if (unit == ProgressUnit::kBytes) {
      const auto rate = static_cast<int64_t>(static_cast<double>(done) / seconds);
      more = fmt::format("{}, {}/s{}{}", short_bytes(done), short_bytes(rate),
                         more.empty() ? "" : ", ", more);
    }
    const std::string line =
        fmt::format("\r{} [{:=>{}}>{:{}}] {:3.0f} % {}\033[K", what, "", full, "",
                    kWidth - 1 - std::min(full, kWidth - 1), 100 * fraction, more);
    std::fwrite(line.data(), 1, line.size(), stderr);
    drawn_ = now;
    visible_ = true;
  }
  void clear() {
    if (visible_) std::fputs("\r\033[K", stderr);
    visible_ = false;
  }

 private:
  std::string what_;
  Clock::time_point begin_, drawn_;
  bool visible_ = false;
};

ProgressBar& progress_bar() {
  static ProgressBar bar;
  return bar;
}

std::atomic<bool> interrupt_seen = false;
struct sigaction action_before;

void on_interrupt(int) { interrupt_seen.store(true); }

void on_patient_interrupt(int) {
  constexpr std::string_view kNote = "\n(it stops as soon as it can; Ctrl-\\ ends the program)\n";
  const bool again = interrupt_seen.exchange(true);
  terminal::wake_up();
  if (!again) return;
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kNote.data(), kNote.size());
}

std::atomic<int> stop_signal_seen = 0;
struct sigaction stop_actions_before[2];
constexpr int kStopSignals[] = {SIGINT, SIGTERM};

void on_stop(int number) {
  if (stop_signal_seen.exchange(number) == 0) return;
  signal(number, SIG_DFL);
  raise(number);  // when this returns: a signal is blocked in its handler
}

}  // namespace

void write_out(std::string_view text) {
  check_out(std::fwrite(text.data(), 1, text.size(), stdout) == text.size());
}

void flush_out() { check_out(std::fflush(stdout) == 0); }

void write_err(std::string_view line) {
  clear_progress();
  const std::string text = fmt::format("{}\n", line);
  std::fwrite(text.data(), 1, text.size(), stderr);  // nowhere to complain if that fails
}

void note(std::string_view line) { write_err(fmt::format("dsv3: {}", line)); }

void set_up_console() {
  signal(SIGPIPE, SIG_IGN);
  set_log_sink([](const std::string& line) { note(line); });
  if (isatty(STDERR_FILENO) == 0) return;
  set_progress_sink([](const std::string& what, int64_t done, int64_t total, ProgressUnit unit) {
    progress_bar().update(what, done, total, unit);
  });
}

void clear_progress() { progress_bar().clear(); }

InterruptGuard::InterruptGuard(bool patient) {
  interrupt_seen = false;
  struct sigaction action = {};
  action.sa_handler = patient ? on_patient_interrupt : on_interrupt;
  action.sa_flags = static_cast<int>((patient ? 0 : SA_RESETHAND) | SA_RESTART);
  sigaction(SIGINT, &action, &action_before);
}

InterruptGuard::~InterruptGuard() { sigaction(SIGINT, &action_before, nullptr); }

StopGuard::StopGuard() {
  stop_signal_seen = 0;
  struct sigaction action = {};
  action.sa_handler = on_stop;
  action.sa_flags = SA_RESTART;
  for (int i = 0; i < 2; ++i) sigaction(kStopSignals[i], &action, &stop_actions_before[i]);
}

StopGuard::~StopGuard() {
  for (int i = 0; i < 2; ++i) sigaction(kStopSignals[i], &stop_actions_before[i], nullptr);
}

int stop_signal() { return stop_signal_seen.load(); }

bool interrupted() { return interrupt_seen.load(); }
void clear_interrupt() { interrupt_seen.store(false); }

}  // namespace dsv3::cli
