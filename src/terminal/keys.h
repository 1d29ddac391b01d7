#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dsv3::terminal {

/// What a person did at the keyboard.
struct Key {
  enum class Kind : uint8_t {
    kText,   ///< typed characters, without control characters
    kPaste,  ///< pasted text: line breaks are "\n", and tabs are kept
    kEnter,
    kNewline,  ///< Alt-Enter: a line break in the text
    kTab,
    kBackspace,
    kDelete,
    kLeft,
    kRight,
    kUp,
    kDown,
    kHome,
    kEnd,
    kWordLeft,
    kWordRight,
    kKillToEnd,
    kKillToBegin,
    kKillWordLeft,  ///< to white space
    kKillPartLeft,  ///< to what is no letter or digit
    kKillWordRight,
    kYank,
    kTranspose,
    kSearch,
    kClearScreen,
    kCancel,  ///< Esc, Ctrl-G
    kCtrlC,
    kCtrlD,
    kCtrlZ,
  };
  Kind kind = Kind::kText;
  std::string text;

  bool operator==(const Key&) const = default;
};

/// Makes keys of the bytes that a terminal in raw mode sends, escape sequences and bracketed paste
/// included. What is not known is dropped; bytes that are not UTF-8 become U+FFFD.
class KeyDecoder {
 public:
  void push(std::string_view bytes) { buffer_ += bytes; }
  /// The next key that is complete. `at_rest`: nothing has come for a while, so that an Esc at the
  /// end is the key of that name and no sequence's beginning.
  std::optional<Key> next(bool at_rest = false);
  /// Whether a key has begun whose rest should come at once.
  bool in_sequence() const { return !buffer_.empty() && !pasting_; }

 private:
  std::optional<Key> take_key(bool at_rest, bool& stuck);
  std::optional<Key> take_paste(bool& stuck);
  std::optional<Key> take_escape(bool at_rest, bool& stuck);
  std::optional<Key> take_text(bool at_rest, bool& stuck);

  std::string buffer_;
  std::string paste_;
  bool pasting_ = false;
};

}  // namespace dsv3::terminal
