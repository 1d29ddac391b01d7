#include "terminal/keys.h"

#include <algorithm>
#include <utility>

#include "text/utf8.h"

namespace dsv3::terminal {
namespace {

using Kind = Key::Kind;

constexpr char kEsc = '\x1b';
constexpr std::string_view kPasteBegin = "200~", kPasteEnd = "\x1b[201~";

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == '\x7F'; }

std::optional<Kind> control_key(char c) {
  switch (c) {
    case '\r':
    case '\n':
      return Kind::kEnter;
    case '\t':
      return Kind::kTab;
    case '\b':
    case '\x7F':
      return Kind::kBackspace;
    case 'A' - '@':
      return Kind::kHome;
    case 'B' - '@':
      return Kind::kLeft;
    case 'C' - '@':
      return Kind::kCtrlC;
    case 'D' - '@':
      return Kind::kCtrlD;
    case 'E' - '@':
      return Kind::kEnd;
    case 'F' - '@':
      return Kind::kRight;
    case 'G' - '@':
      return Kind::kCancel;
    case 'K' - '@':
      return Kind::kKillToEnd;
    case 'L' - '@':
      return Kind::kClearScreen;
    case 'N' - '@':
      return Kind::kDown;
    case 'P' - '@':
      return Kind::kUp;
    case 'R' - '@':
      return Kind::kSearch;
    case 'T' - '@':
      return Kind::kTranspose;
    case 'U' - '@':
      return Kind::kKillToBegin;
    case 'W' - '@':
      return Kind::kKillWordLeft;
    case 'Y' - '@':
      return Kind::kYank;
    case 'Z' - '@':
      return Kind::kCtrlZ;
    default:
      return std::nullopt;
  }
}

/// The key of "ESC [ body" or "ESC O body".
std::optional<Kind> sequence_key(std::string_view body) {
  constexpr std::pair<std::string_view, Kind> kSequences[] = {
      {"A", Kind::kUp},
      {"B", Kind::kDown},
      {"C", Kind::kRight},
      {"D", Kind::kLeft},
      {"H", Kind::kHome},
      {"F", Kind::kEnd},
      {"1~", Kind::kHome},
      {"7~", Kind::kHome},
      {"4~", Kind::kEnd},
      {"8~", Kind::kEnd},
      {"3~", Kind::kDelete},
      {"3;3~", Kind::kKillWordRight},
      {"3;5~", Kind::kKillWordRight},
      {"1;3C", Kind::kWordRight},
      {"1;5C", Kind::kWordRight},
      {"1;3D", Kind::kWordLeft},
      {"1;5D", Kind::kWordLeft},
      {"13;2u", Kind::kNewline},  // Shift-Enter, of terminals that tell
      {"27;2;13~", Kind::kNewline},
  };
  for (const auto& [sequence, kind] : kSequences) {
    if (sequence == body) return kind;
  }
  return std::nullopt;
}

/// Alt and a key, or Esc before it.
std::optional<Kind> alt_key(char c) {
  switch (c) {
    case '\r':
    case '\n':
      return Kind::kNewline;
    case 'b':
      return Kind::kWordLeft;
    case 'f':
      return Kind::kWordRight;
    case 'd':
      return Kind::kKillWordRight;
    case '\b':
    case '\x7F':
      return Kind::kKillPartLeft;
    default:
      return std::nullopt;
  }
}

/// Line breaks as "\n", no other control characters but tabs, valid UTF-8.
std::string clean_paste(std::string_view text) {
  std::string clean;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      clean += '\n';
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    } else if (!is_control(text[i]) || text[i] == '\n' || text[i] == '\t') {
      clean += text[i];
    }
  }
  return utf8_lossy(clean);
}

}  // namespace

std::optional<Key> KeyDecoder::next(bool at_rest) {
  while (pasting_ || !buffer_.empty()) {
    bool stuck = false;
    std::optional<Key> key = take_key(at_rest, stuck);
    if (key || stuck) return key;
  }
  return std::nullopt;
}

// Takes something from the buffer: a key, or what is none. `stuck`: more is needed first.
std::optional<Key> KeyDecoder::take_key(bool at_rest, bool& stuck) {
  if (pasting_) return take_paste(stuck);
  const char c = buffer_.front();
  if (c == kEsc) return take_escape(at_rest, stuck);
  if (!is_control(c)) return take_text(at_rest, stuck);
  buffer_.erase(0, 1);
  const std::optional<Kind> kind = control_key(c);
  return kind ? std::optional(Key{*kind, {}}) : std::nullopt;
}

std::optional<Key> KeyDecoder::take_paste(bool& stuck) {
  const size_t end = buffer_.find(kPasteEnd);
  if (end == std::string::npos) {
    // Its end may have begun.
    const size_t sure = buffer_.size() - std::min(buffer_.size(), kPasteEnd.size() - 1);
    paste_ += buffer_.substr(0, sure);
    buffer_.erase(0, sure);
    stuck = true;
    return std::nullopt;
  }
  paste_ += buffer_.substr(0, end);
  buffer_.erase(0, end + kPasteEnd.size());
  pasting_ = false;
  return Key{Kind::kPaste, clean_paste(std::exchange(paste_, {}))};
}

std::optional<Key> KeyDecoder::take_escape(bool at_rest, bool& stuck) {
  const auto take = [&](size_t size, std::optional<Kind> kind) {
    buffer_.erase(0, size);
    return kind ? std::optional(Key{*kind, {}}) : std::nullopt;
  };
  const auto incomplete = [&](std::optional<Kind> kind) -> std::optional<Key> {
    if (at_rest) return take(buffer_.size(), kind);
    stuck = true;
    return std::nullopt;
  };
  if (buffer_.size() == 1) return incomplete(Kind::kCancel);
  const char second = buffer_[1];
  if (second == kEsc) return take(1, std::nullopt);
  if (second == 'O') {
    if (buffer_.size() == 2) return incomplete(std::nullopt);
    return take(3, sequence_key(std::string_view(buffer_).substr(2, 1)));
  }
  if (second != '[') return take(2, alt_key(second));
  size_t end = 2;
  while (end < buffer_.size() && buffer_[end] >= 0x20 && buffer_[end] < 0x40) ++end;
  if (end == buffer_.size()) return incomplete(std::nullopt);
  const std::string body = buffer_.substr(2, end + 1 - 2);
  pasting_ = body == kPasteBegin;
  return take(end + 1, sequence_key(body));
}

// All characters up to the next control character, so that fast typing is drawn once.
std::optional<Key> KeyDecoder::take_text(bool at_rest, bool& stuck) {
  std::string text;
  size_t at = 0;
  while (at < buffer_.size() && !is_control(buffer_[at])) {
    const Utf8Step step = utf8_step(std::string_view(buffer_).substr(at));
    if (step.kind == Utf8Step::kIncomplete && !at_rest) break;
    text += step.kind == Utf8Step::kCharacter ? buffer_.substr(at, step.length)
                                              : std::string(kReplacementCharacter);
    at += step.length;
  }
  buffer_.erase(0, at);
  stuck = text.empty();
  return text.empty() ? std::nullopt : std::optional(Key{Kind::kText, std::move(text)});
}

}  // namespace dsv3::terminal
