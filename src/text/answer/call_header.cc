#include "text/answer/call_header.h"

#include "text/answer/marks.h"

namespace dsv3::answer {
namespace {

using Status = CallHeader::Status;

/// Longer headers are none. Also bounds the work of looking at a header again with each piece.
constexpr size_t kMaxHeader = 1024;
constexpr std::string_view kFence = "```";

/// Names of functions have no white space, brackets or quotes.
bool is_name_byte(char c) {
  return static_cast<unsigned char>(c) > 0x20 && c != 0x7F &&
         std::string_view("<>`\"'{}").find(c) == std::string_view::npos;
}

bool is_name(std::string_view text) {
  if (text.empty()) return false;
  for (const char c : text) {
    if (!is_name_byte(c)) return false;
  }
  return true;
}

std::string_view trim(std::string_view text) {
  text = skip_spaces(text);
  return text.substr(0, text.find_last_not_of(kSpaces) + 1);
}

class HeaderReader {
 public:
  explicit HeaderReader(std::string_view text) : whole_(text), rest_(text) {}

  CallHeader read() {
    header_.status = read_parts();
    header_.size = whole_.size() - rest_.size();
    return header_;
  }

 private:
  Status read_parts() {
    const size_t end = rest_.find('<');
    const std::string_view type = trim(rest_.substr(0, end));
    if (!type.empty() && !is_name(type)) return Status::kMalformed;
    if (end == std::string_view::npos) return Status::kIncomplete;
    if (type.empty()) return Status::kMalformed;
    rest_.remove_prefix(end);
    if (is_part_of(rest_, kSeparator)) return Status::kIncomplete;
    if (!rest_.starts_with(kSeparator)) return Status::kMalformed;
    rest_ = skip_spaces(rest_.substr(kSeparator.size()));
    if (rest_.empty()) return Status::kIncomplete;

    if (arguments_begin() || rest_.front() == '`') {
      header_.name = type;
    } else {
      const size_t line = rest_.find('\n');
      header_.name = trim(rest_.substr(0, line));
      if (!is_name(header_.name)) return Status::kMalformed;
      if (line == std::string_view::npos) return Status::kIncomplete;
      rest_ = skip_spaces(rest_.substr(line));
    }
    return read_fence();
  }

  Status read_fence() {
    if (rest_.empty() || is_part_of(rest_, kFence)) return Status::kIncomplete;
    if (arguments_begin()) return Status::kGood;
    if (!rest_.starts_with(kFence)) return Status::kMalformed;
    header_.fenced = true;
    rest_.remove_prefix(kFence.size());
    // The language, "json".
    while (!rest_.empty() && rest_.front() >= 'a' && rest_.front() <= 'z') rest_.remove_prefix(1);
    rest_ = skip_spaces(rest_);
    if (rest_.empty()) return Status::kIncomplete;
    return arguments_begin() ? Status::kGood : Status::kMalformed;
  }

  bool arguments_begin() const { return rest_.front() == '{' || rest_.front() == '"'; }

  std::string_view whole_, rest_;
  CallHeader header_;
};

}  // namespace

CallHeader read_call_header(std::string_view text) {
  CallHeader header = HeaderReader(text.substr(0, kMaxHeader)).read();
  if (header.status == Status::kIncomplete && text.size() >= kMaxHeader) {
    header.status = Status::kMalformed;
  }
  return header;
}

}  // namespace dsv3::answer
