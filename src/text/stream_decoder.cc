#include "dsv3/tokenizer.h"
#include "text/utf8.h"

namespace dsv3 {

std::string StreamDecoder::push(int64_t id) {
  if (skip_special_tokens_ && tokenizer_.is_special(id)) return {};
  held_ += tokenizer_.token_bytes(id);
  // Everything before a character that may still be completed can go.
  std::string_view rest = held_;
  while (!rest.empty()) {
    const Utf8Step step = utf8_step(rest);
    if (step.kind == Utf8Step::kIncomplete) break;
    rest.remove_prefix(step.length);
  }
  std::string text = utf8_lossy(std::string_view(held_).substr(0, held_.size() - rest.size()));
  held_.erase(0, held_.size() - rest.size());
  return text;
}

std::string StreamDecoder::flush() {
  std::string text = utf8_lossy(held_);
  held_.clear();
  return text;
}

}  // namespace dsv3
