#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace dsv3::terminal {

/// A text that is being edited, perhaps of several lines, and a cursor in it. The text is valid
/// UTF-8; the cursor moves by what a person sees as characters.
class EditBuffer {
 public:
  const std::string& text() const { return text_; }
  size_t cursor() const { return cursor_; }  ///< in bytes

  /// Replaces the text; the cursor goes to its end.
  void set(std::string text);
  void insert(std::string_view text);

  void left();
  void right();
  void word_left() { cursor_ = word_begin(); }
  void word_right() { cursor_ = word_end(); }
  /// Begin and end of the cursor's line.
  void home() { cursor_ = line_begin(cursor_); }
  void end() { cursor_ = line_end(cursor_); }
  /// To the line above or below; false if there is none.
  bool up();
  bool down();

  void erase_left();
  void erase_right();
  void kill_to_line_end();
  void kill_to_line_begin();
  void kill_word_left();  ///< back to white space
  void kill_part_left() { kill(word_begin(), cursor_); }
  void kill_word_right() { kill(cursor_, word_end()); }
  /// Inserts what was killed last.
  void yank() { insert(killed_); }
  /// Swaps the characters around the cursor.
  void transpose();

 private:
  size_t line_begin(size_t at) const;
  size_t line_end(size_t at) const;
  size_t word_begin() const;
  size_t word_end() const;
  void kill(size_t begin, size_t end);
  void go_to_column(size_t begin, int column);

  std::string text_, killed_;
  size_t cursor_ = 0;
};

}  // namespace dsv3::terminal
