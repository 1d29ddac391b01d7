#include "pseudo_terminal.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace dsv3::testing {
namespace {

/// Machines that build are busy, and the model is loaded first.
constexpr int kPatienceMilliseconds = 60'000;

}  // namespace

PseudoTerminal::PseudoTerminal(const std::vector<std::string>& command,
                               const std::map<std::string, std::string>& environment) {
  struct winsize size = {.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
  // Before the fork: the child of a program with threads may do little.
  std::vector<char*> arguments;
  for (const std::string& argument : command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  pid_ = forkpty(&fd_, nullptr, nullptr, &size);
  if (pid_ < 0) throw std::runtime_error(std::string("forkpty: ") + std::strerror(errno));
  if (pid_ > 0) return;
  setenv("TERM", "xterm", 1);
  for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
  execv(arguments[0], arguments.data());
  _exit(127);
}

PseudoTerminal::~PseudoTerminal() { stop(); }

void PseudoTerminal::stop() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  pid_ = -1;
  close(fd_);
}

void PseudoTerminal::type(std::string_view keys) {
  if (write(fd_, keys.data(), keys.size()) != static_cast<ssize_t>(keys.size())) {
    throw std::runtime_error(std::string("typing: ") + std::strerror(errno));
  }
}

bool PseudoTerminal::read_more() {
  struct pollfd in = {fd_, POLLIN, 0};
  const int ready = poll(&in, 1, kPatienceMilliseconds);
  if (ready == 0) throw std::runtime_error("waited in vain; the terminal shows:\n" + unread_);
  char bytes[4096];
  const ssize_t n = read(fd_, bytes, sizeof(bytes));
  if (n <= 0) return false;  // EIO: the program has closed it
  unread_.append(bytes, static_cast<size_t>(n));
  ++reads_;
  return true;
}

std::string PseudoTerminal::wait_for(const std::string& text) {
  size_t at = 0;
  while ((at = unread_.find(text)) == std::string::npos) {
    if (!read_more())
      throw std::runtime_error("the program ended; the terminal shows:\n" + unread_);
  }
  std::string seen = unread_.substr(0, at + text.size());
  unread_.erase(0, seen.size());
  return seen;
}

std::string PseudoTerminal::wait_for_end(int& status) {
  while (read_more()) {
  }
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return unread_;
}

void PseudoTerminal::send_signal(int signal) const { kill(pid_, signal); }

void PseudoTerminal::resize(unsigned short columns, unsigned short rows) const {
  const struct winsize size = {.ws_row = rows, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
  ioctl(fd_, TIOCSWINSZ, &size);
}

struct termios PseudoTerminal::settings() const {
  struct termios now = {};
  tcgetattr(fd_, &now);
  return now;
}

}  // namespace dsv3::testing
