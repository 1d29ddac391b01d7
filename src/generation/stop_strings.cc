#include <algorithm>

#include "base/error.h"
#include "dsv3/generation.h"

namespace dsv3 {

StopStringMatcher::StopStringMatcher(std::vector<std::string> stop_strings, bool include)
    : stop_strings_(std::move(stop_strings)), include_(include) {
  for (const std::string& s : stop_strings_) {
    if (s.empty()) fail("a stop string is empty");
  }
}

std::string StopStringMatcher::push(std::string_view piece) {
  if (stopped()) return "";
  const size_t old_size = held_.size();
  held_ += piece;

  size_t stop_end = std::string::npos;
  for (size_t i = 0; i < stop_strings_.size(); ++i) {
    const std::string& s = stop_strings_[i];
    // A match has its last byte in the new piece: an earlier one would have been found before.
    const size_t from = old_size >= s.size() ? old_size - s.size() + 1 : 0;
    const size_t at = held_.find(s, from);
    if (at == std::string::npos) continue;
    const size_t end = at + s.size();
    if (end < stop_end || (end == stop_end && s.size() > stop_string().size())) {
      stop_end = end;
      stopped_ = i;
    }
  }
  if (stopped()) {
    std::string shown = held_.substr(0, include_ ? stop_end : stop_end - stop_string().size());
    held_.clear();
    return shown;
  }

  size_t hold = 0;
  for (const std::string& s : stop_strings_) {
    for (size_t n = std::min(s.size() - 1, held_.size()); n > hold; --n) {
      if (held_.compare(held_.size() - n, n, s, 0, n) == 0) hold = n;
    }
  }
  std::string shown = held_.substr(0, held_.size() - hold);
  held_.erase(0, shown.size());
  return shown;
}

std::string StopStringMatcher::flush() {
  std::string rest;
  std::swap(rest, held_);
  return rest;
}

}  // namespace dsv3
