#include "terminal/line_editor.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "terminal/line.h"
#include "terminal/line_view.h"
#include "terminal/raw_mode.h"
#include "terminal/waiting.h"

namespace dsv3::terminal {
namespace {

constexpr const char* kContinuation = "\xE2\x80\xA6 ";  // …
/// How long the rest of an escape sequence may take.
constexpr int kSequenceMilliseconds = 50;

void write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(STDERR_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // nowhere to complain
    text.remove_prefix(static_cast<size_t>(n));
  }
}

void on_resize(int) { wake_up(); }

/// While one exists, a change of the window's size ends a wait.
class ResizeGuard {
 public:
  ResizeGuard() {
    struct sigaction action = {};
    action.sa_handler = on_resize;
    sigaction(SIGWINCH, &action, &before_);
  }
  ~ResizeGuard() { sigaction(SIGWINCH, &before_, nullptr); }
  ResizeGuard(const ResizeGuard&) = delete;
  ResizeGuard& operator=(const ResizeGuard&) = delete;

 private:
  struct sigaction before_;
};

}  // namespace

LineEditor::LineEditor(LineEditorOptions options)
    : options_(std::move(options)),
      interactive_(isatty(STDIN_FILENO) != 0 && isatty(STDERR_FILENO) != 0),
      editing_(interactive_ && !is_dumb_terminal()),
      history_(editing_ ? options_.history_file : std::filesystem::path()) {
  prepare_wake_up();
}

void LineEditor::remember(const std::string& input) { history_.add(input); }

LineEditor::Input LineEditor::read(const std::string& prompt) {
  return editing_ ? edit(prompt) : read_plain(prompt);
}

LineEditor::Arrival LineEditor::wait_for_bytes(int milliseconds) {
  const Waited waited = wait_readable(STDIN_FILENO, milliseconds);
  if (waited == Waited::kWokenUp) return Arrival::kWakeUp;
  if (waited == Waited::kTimeout) return Arrival::kNothing;
  if (waited == Waited::kFailed) return Arrival::kEnd;
  char bytes[4096];
  const ssize_t n = ::read(STDIN_FILENO, bytes, sizeof(bytes));
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return Arrival::kWakeUp;
  if (n <= 0) return Arrival::kEnd;
  const std::string_view text(bytes, static_cast<size_t>(n));
  editing_ ? keys_.push(text) : void(arrived_ += text);
  return Arrival::kBytes;
}

LineEditor::Input LineEditor::read_plain(const std::string& prompt) {
  if (interactive_) write_all(prompt);
  size_t newline = 0;
  while ((newline = arrived_.find('\n')) == std::string::npos) {
    const Arrival arrival = wait_for_bytes(-1);
    if (arrival == Arrival::kWakeUp && options_.interrupted && options_.interrupted()) {
      if (interactive_) write_all("\n");
      return {End::kCtrlC, std::exchange(arrived_, {})};
    }
    if (arrival != Arrival::kEnd) continue;
    if (interactive_) write_all("\n");
    if (arrived_.empty()) return {End::kEndOfInput, ""};
    arrived_ += '\n';  // a last line without an end
  }
  std::string line = arrived_.substr(0, newline);
  arrived_.erase(0, newline + 1);
  if (line.ends_with('\r')) line.pop_back();
  return {End::kEntered, std::move(line)};
}

LineEditor::Input LineEditor::edit(const std::string& prompt) {
  std::optional<RawMode> raw(std::in_place, STDIN_FILENO, STDERR_FILENO);
  const ResizeGuard resize_guard;
  Line line(history_, options_.completions);
  LineView view;
  const auto layout = [&](const ScreenSize& screen) {
    return lay_out(line.searching() ? line.search_prompt() : prompt, kContinuation,
                   line.buffer().text(), line.buffer().cursor(), screen.columns);
  };
  const auto finish = [&](End end) -> Input {
    const ScreenSize screen = screen_size(STDERR_FILENO);
    write_all(view.finish(layout(screen), screen));
    return {end, line.buffer().text()};
  };

  bool at_rest = false;
  while (true) {
    // All keys that have come are drawn together.
    while (const std::optional<Key> key = keys_.next(std::exchange(at_rest, false))) {
      if (key->kind == Key::Kind::kCtrlZ) {
        raw.reset();
        write_all("\r\n");
        raise(SIGTSTP);
        raw.emplace(STDIN_FILENO, STDERR_FILENO);
        view.forget();
        continue;
      }
      if (key->kind == Key::Kind::kClearScreen) {
        write_all("\x1b[H\x1b[2J");
        view.forget();
        continue;
      }
      const Line::State state = line.press(*key);
      if (state == Line::State::kEntered) return finish(End::kEntered);
      if (state == Line::State::kCtrlC) return finish(End::kCtrlC);
      if (state == Line::State::kEnd) return finish(End::kEndOfInput);
    }
    const ScreenSize screen = screen_size(STDERR_FILENO);
    write_all(view.draw(layout(screen), screen));
    const Arrival arrival = wait_for_bytes(keys_.in_sequence() ? kSequenceMilliseconds : -1);
    at_rest = arrival == Arrival::kNothing;
    if (arrival == Arrival::kEnd) return finish(End::kEndOfInput);
    if (arrival == Arrival::kWakeUp && options_.interrupted && options_.interrupted()) {
      return finish(End::kCtrlC);
    }
  }
}

}  // namespace dsv3::terminal
