#include "terminal/edit_buffer.h"

#include "terminal/width.h"

namespace dsv3::terminal {
namespace {

/// Bytes of letters, digits and of everything that is not ASCII.
bool is_word_byte(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t'; }

}  // namespace

void EditBuffer::set(std::string text) {
  text_ = std::move(text);
  cursor_ = text_.size();
}

void EditBuffer::insert(std::string_view text) {
  text_.insert(cursor_, text);
  cursor_ += text.size();
}

void EditBuffer::left() {
  if (cursor_ > 0) cursor_ = cluster_begin(text_, cursor_);
}
void EditBuffer::right() {
  if (cursor_ < text_.size()) cursor_ = cluster_end(text_, cursor_);
}

bool EditBuffer::up() {
  const size_t begin = line_begin(cursor_);
  if (begin == 0) return false;
  go_to_column(line_begin(begin - 1),
               text_width(std::string_view(text_).substr(begin, cursor_ - begin)));
  return true;
}

bool EditBuffer::down() {
  const size_t begin = line_begin(cursor_), end = line_end(cursor_);
  if (end == text_.size()) return false;
  go_to_column(end + 1, text_width(std::string_view(text_).substr(begin, cursor_ - begin)));
  return true;
}

void EditBuffer::go_to_column(size_t begin, int column) {
  const size_t end = line_end(begin);
  cursor_ = begin;
  int width = 0;
  while (cursor_ < end) {
    const size_t next = cluster_end(text_, cursor_);
    width += text_width(std::string_view(text_).substr(cursor_, next - cursor_));
    if (width > column) break;
    cursor_ = next;
  }
}

void EditBuffer::erase_left() {
  if (cursor_ == 0) return;
  const size_t begin = cluster_begin(text_, cursor_);
  text_.erase(begin, cursor_ - begin);
  cursor_ = begin;
}
void EditBuffer::erase_right() {
  if (cursor_ < text_.size()) text_.erase(cursor_, cluster_end(text_, cursor_) - cursor_);
}

void EditBuffer::kill(size_t begin, size_t end) {
  if (begin == end) return;
  killed_ = text_.substr(begin, end - begin);
  text_.erase(begin, end - begin);
  cursor_ = begin;
}
void EditBuffer::kill_to_line_end() {
  const size_t end = line_end(cursor_);
  // At a line's end its break goes.
  kill(cursor_, end == cursor_ && end < text_.size() ? end + 1 : end);
}
void EditBuffer::kill_to_line_begin() {
  const size_t begin = line_begin(cursor_);
  // At a line's begin the break before it goes, so that pressing on removes all lines.
  kill(begin == cursor_ && begin > 0 ? begin - 1 : begin, cursor_);
}
void EditBuffer::kill_word_left() {
  size_t begin = cursor_;
  while (begin > 0 && is_space(text_[begin - 1])) --begin;
  while (begin > 0 && !is_space(text_[begin - 1])) --begin;
  kill(begin, cursor_);
}

void EditBuffer::transpose() {
  const size_t begin = line_begin(cursor_);
  if (cursor_ == line_end(cursor_)) left();
  if (cursor_ <= begin || cursor_ == text_.size()) return;
  const size_t first = cluster_begin(text_, cursor_), end = cluster_end(text_, cursor_);
  const std::string moved = text_.substr(first, cursor_ - first);
  text_.erase(first, moved.size());
  cursor_ = end - moved.size();
  insert(moved);
}

size_t EditBuffer::line_begin(size_t at) const {
  if (at == 0) return 0;
  const size_t newline = text_.rfind('\n', at - 1);
  return newline == std::string::npos ? 0 : newline + 1;
}
size_t EditBuffer::line_end(size_t at) const {
  const size_t newline = text_.find('\n', at);
  return newline == std::string::npos ? text_.size() : newline;
}
size_t EditBuffer::word_begin() const {
  size_t at = cursor_;
  while (at > 0 && !is_word_byte(text_[at - 1])) --at;
  while (at > 0 && is_word_byte(text_[at - 1])) --at;
  return at;
}
size_t EditBuffer::word_end() const {
  size_t at = cursor_;
  while (at < text_.size() && !is_word_byte(text_[at])) ++at;
  while (at < text_.size() && is_word_byte(text_[at])) ++at;
  return at;
}

}  // namespace dsv3::terminal
