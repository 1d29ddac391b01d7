#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "terminal/edit_buffer.h"
#include "terminal/history.h"
#include "terminal/keys.h"

namespace dsv3::terminal {

/// An input that is being typed: what each key does to it, with history, search and completion. It
/// knows nothing of how it is shown.
class Line {
 public:
  /// `completions`: words that Tab completes at the beginning of the text. Both must outlive it.
  Line(const History& history, const std::vector<std::string>& completions)
      : history_(history), completions_(completions), place_(history.entries().size()) {}

  enum class State : uint8_t { kTyping, kEntered, kCtrlC, kEnd };
  /// What kCtrlZ and kClearScreen mean is the caller's business.
  State press(const Key& key);

  const EditBuffer& buffer() const { return buffer_; }
  bool searching() const { return searching_; }
  /// In the place of the prompt while there is a search.
  std::string search_prompt() const;

 private:
  void edit(const Key& key);
  void older();
  void newer();
  void go_to(size_t place);
  void complete();
  bool press_in_search(const Key& key);
  void search(size_t before);

  const History& history_;
  const std::vector<std::string>& completions_;
  EditBuffer buffer_;
  size_t place_;       // the entry of the history that is shown; its size: the new text
  std::string draft_;  // the new text while an entry is shown
  bool searching_ = false, not_found_ = false;
  std::string query_, before_search_;
};

}  // namespace dsv3::terminal
