#include "terminal/raw_mode.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/error.h"

namespace dsv3::terminal {
namespace {

// In raw mode pasted text comes between marks.
constexpr std::string_view kPasteMarksOn = "\x1b[?2004h", kPasteMarksOff = "\x1b[?2004l";
constexpr std::string_view kPlainStyle = "\x1b[0m";

/// Signals whose default is to end the program.
constexpr int kEndings[] = {SIGTERM, SIGHUP, SIGQUIT, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
constexpr size_t kEndingCount = sizeof(kEndings) / sizeof(kEndings[0]);

// What a signal's handler needs; there is one terminal.
struct State {
  volatile sig_atomic_t raw = 0, styled = 0;
  int in = -1, out = -1, style_out = -1;
  struct termios before = {};
  struct sigaction actions[kEndingCount] = {};
  int guards = 0;
};
State state;

void write_to(int fd, std::string_view text) {
  [[maybe_unused]] const ssize_t written = write(fd, text.data(), text.size());
}

void restore_terminal() {
  if (state.raw != 0) {
    write_to(state.out, kPasteMarksOff);
    tcsetattr(state.in, TCSADRAIN, &state.before);
  }
  if (state.styled != 0) write_to(state.style_out, kPlainStyle);
}

void on_ending(int signal) {
  restore_terminal();
  for (size_t i = 0; i < kEndingCount; ++i) {
    if (kEndings[i] == signal) sigaction(signal, &state.actions[i], nullptr);
  }
  raise(signal);  // comes when this returns
}

void add_guard() {
  if (state.guards++ > 0) return;
  struct sigaction action = {};
  action.sa_handler = on_ending;
  for (size_t i = 0; i < kEndingCount; ++i) {
    sigaction(kEndings[i], nullptr, &state.actions[i]);
    // nohup and the like stay what they are.
    if (state.actions[i].sa_handler == SIG_IGN) continue;
    sigaction(kEndings[i], &action, nullptr);
  }
}

void remove_guard() {
  if (--state.guards > 0) return;
  for (size_t i = 0; i < kEndingCount; ++i) sigaction(kEndings[i], &state.actions[i], nullptr);
}

}  // namespace

RawMode::RawMode(int in, int out) {
  if (tcgetattr(in, &state.before) != 0) fail("terminal: {}", std::strerror(errno));
  struct termios raw = state.before;
  raw.c_iflag &= ~static_cast<tcflag_t>(BRKINT | ICRNL | INLCR | IGNCR | ISTRIP | IXON);
  raw.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON | IEXTEN | ISIG);
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  state.in = in;
  state.out = out;
  add_guard();
  state.raw = 1;
  tcsetattr(in, TCSADRAIN, &raw);
  write_to(out, kPasteMarksOn);
}

RawMode::~RawMode() {
  write_to(state.out, kPasteMarksOff);
  tcsetattr(state.in, TCSADRAIN, &state.before);
  state.raw = 0;
  remove_guard();
}

StyleGuard::StyleGuard(int out) {
  state.style_out = out;
  add_guard();
  state.styled = 1;
}
StyleGuard::~StyleGuard() {
  state.styled = 0;
  remove_guard();
}

ScreenSize screen_size(int fd) {
  struct winsize size = {};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {size.ws_col, size.ws_row};
}

bool is_dumb_terminal() {
  const char* terminal = std::getenv("TERM");
  return terminal == nullptr || *terminal == '\0' || std::strcmp(terminal, "dumb") == 0;
}

}  // namespace dsv3::terminal
