#include <algorithm>

#include "base/error.h"
#include "dsv3/chat_template.h"
#include "text/utf8.h"

namespace dsv3 {

struct TemplateError::Place {
  int line = 1, column = 1;
  std::string text;  // "line 3, column 5", the source line and the caret

  Place(const std::string& source, size_t offset) {
    offset = std::min(offset, source.size());
    size_t start = 0;
    for (size_t at = source.find('\n'); at < offset; at = source.find('\n', at + 1)) {
      ++line;
      start = at + 1;
    }
    const auto characters = [&](size_t begin, size_t end) {
      return std::count_if(source.begin() + static_cast<ptrdiff_t>(begin),
                           source.begin() + static_cast<ptrdiff_t>(end),
                           [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
    };
    column += static_cast<int>(characters(start, offset));
    // Some templates are one line of thousands of characters: show what is around.
    size_t begin = start, end = std::min(source.find('\n', start), source.size());
    constexpr size_t kAround = 60;
    const auto inside_character = [&](size_t at) {
      return at < source.size() && (static_cast<uint8_t>(source[at]) & 0xC0) == 0x80;
    };
    if (offset - begin > kAround) begin = offset - kAround;
    if (end - offset > kAround) end = offset + kAround;
    while (begin < offset && inside_character(begin)) ++begin;  // the source may be invalid UTF-8
    while (inside_character(end)) ++end;
    const std::string_view shown = std::string_view(source).substr(begin, end - begin);
    text = fmt::format("line {}, column {}\n  {}\n  {}^", line, column,
                       utf8_lossy(without_controls(shown)), blank(shown.substr(0, offset - begin)));
  }

  // The source is not trusted: it must not talk to the terminal.
  static std::string without_controls(std::string_view line) {
    std::string out(line);
    for (char& c : out) {
      if ((static_cast<uint8_t>(c) < 0x20 && c != '\t') || c == 0x7F) c = ' ';
    }
    return out;
  }

  // What is as wide as `text` when it is printed.
  static std::string blank(std::string_view text) {
    std::string out;
    for (const char c : text) {
      if ((static_cast<uint8_t>(c) & 0xC0) != 0x80) out += c == '\t' ? '\t' : ' ';
    }
    return out;
  }
};

TemplateError::TemplateError(Phase phase, std::string reason, bool raised_by_template,
                             const std::string& source, size_t offset)
    : TemplateError(phase, std::move(reason), raised_by_template, Place(source, offset)) {}

TemplateError::TemplateError(Phase phase, std::string reason, bool raised_by_template,
                             const Place& place)
    : Error(fmt::format("chat template: {}\nat {}", reason, place.text)),
      phase_(phase),
      reason_(std::move(reason)),
      raised_by_template_(raised_by_template),
      line_(place.line),
      column_(place.column) {}

}  // namespace dsv3
