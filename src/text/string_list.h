#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dsv3 {

/// Many short strings in one buffer.
class StringList {
 public:
  void push_back(std::string_view text) {
    texts_ += text;
    ends_.push_back(texts_.size());
  }
  size_t size() const { return ends_.size(); }
  std::string_view operator[](size_t i) const {
    const size_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(texts_).substr(begin, ends_[i] - begin);
  }

 private:
  std::string texts_;
  std::vector<size_t> ends_;
};

}  // namespace dsv3
