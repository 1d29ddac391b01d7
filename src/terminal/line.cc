#include "terminal/line.h"

#include "terminal/width.h"

namespace dsv3::terminal {

using Kind = Key::Kind;

Line::State Line::press(const Key& key) {
  if (searching_ && press_in_search(key)) return State::kTyping;
  switch (key.kind) {
    case Kind::kEnter:
      return State::kEntered;
    case Kind::kCtrlC:
      return State::kCtrlC;
    case Kind::kCtrlD:
      if (buffer_.text().empty()) return State::kEnd;
      buffer_.erase_right();
      break;
    case Kind::kUp:
      if (!buffer_.up()) older();
      break;
    case Kind::kDown:
      if (!buffer_.down()) newer();
      break;
    case Kind::kTab:
      complete();
      break;
    case Kind::kSearch:
      searching_ = true;
      query_.clear();
      not_found_ = false;
      before_search_ = buffer_.text();
      break;
    default:
      edit(key);
  }
  return State::kTyping;
}

void Line::edit(const Key& key) {
  switch (key.kind) {
    case Kind::kText:
    case Kind::kPaste:
      return buffer_.insert(key.text);
    case Kind::kNewline:
      return buffer_.insert("\n");
    case Kind::kBackspace:
      return buffer_.erase_left();
    case Kind::kDelete:
      return buffer_.erase_right();
    case Kind::kLeft:
      return buffer_.left();
    case Kind::kRight:
      return buffer_.right();
    case Kind::kHome:
      return buffer_.home();
    case Kind::kEnd:
      return buffer_.end();
    case Kind::kWordLeft:
      return buffer_.word_left();
    case Kind::kWordRight:
      return buffer_.word_right();
    case Kind::kKillToEnd:
      return buffer_.kill_to_line_end();
    case Kind::kKillToBegin:
      return buffer_.kill_to_line_begin();
    case Kind::kKillWordLeft:
      return buffer_.kill_word_left();
    case Kind::kKillPartLeft:
      return buffer_.kill_part_left();
    case Kind::kKillWordRight:
      return buffer_.kill_word_right();
    case Kind::kYank:
      return buffer_.yank();
    case Kind::kTranspose:
      return buffer_.transpose();
    default:
      return;
  }
}

void Line::go_to(size_t place) {
  const std::vector<std::string>& entries = history_.entries();
  if (place_ == entries.size()) draft_ = buffer_.text();
  place_ = place;
  buffer_.set(place == entries.size() ? draft_ : entries[place]);
}

void Line::older() {
  if (place_ > 0) go_to(place_ - 1);
}
void Line::newer() {
  if (place_ < history_.entries().size()) go_to(place_ + 1);
}

void Line::complete() {
  const std::string begun = buffer_.text();
  if (begun.empty() || buffer_.cursor() != begun.size()) return;
  std::string common;
  size_t matches = 0;
  for (const std::string& word : completions_) {
    if (!word.starts_with(begun)) continue;
    if (matches++ == 0) common = word;
    size_t same = 0;
    while (same < common.size() && same < word.size() && common[same] == word[same]) ++same;
    common.resize(same);
  }
  if (matches > 0) buffer_.set(matches == 1 ? common + " " : common);
}

// ---- search

std::string Line::search_prompt() const {
  std::string shown;
  for (const char c : query_) shown += c == '\n' || c == '\t' ? ' ' : c;
  return (not_found_ ? "nothing with '" : "search '") + shown + "': ";
}

// False: the search is over, and the key is one like any other.
bool Line::press_in_search(const Key& key) {
  switch (key.kind) {
    case Kind::kText:
    case Kind::kPaste:
      query_ += key.text;
      search(place_ + 1);  // the entry that is shown may have this too
      return true;
    case Kind::kBackspace:
      if (!query_.empty()) query_.resize(cluster_begin(query_, query_.size()));
      search(history_.entries().size());
      return true;
    case Kind::kSearch:
      search(place_);
      return true;
    case Kind::kCancel:
    case Kind::kCtrlC:
      searching_ = false;
      place_ = history_.entries().size();
      buffer_.set(before_search_);
      return true;
    default:
      searching_ = false;
      return false;
  }
}

void Line::search(size_t before) {
  if (query_.empty()) return;
  const auto found = history_.find(query_, before);
  not_found_ = !found.has_value();
  if (found) go_to(*found);
}

}  // namespace dsv3::terminal
