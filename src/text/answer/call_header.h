#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace dsv3::answer {

/// White space of JSON.
inline constexpr std::string_view kSpaces = " \t\r\n";

/// `text` from its first character on that is no white space.
inline std::string_view skip_spaces(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpaces);
  return text.substr(begin == std::string_view::npos ? text.size() : begin);
}

/// Whether `text` is the beginning of `mark`, but not all of it.
inline bool is_part_of(std::string_view text, std::string_view mark) {
  return text.size() < mark.size() && mark.starts_with(text);
}

/// What stands between <｜tool▁call▁begin｜> and the arguments of a call.
struct CallHeader {
  enum class Status { kIncomplete, kMalformed, kGood };
  Status status = Status::kIncomplete;
  std::string name;
  bool fenced = false;  ///< the arguments are in ```
  size_t size = 0;      ///< bytes before the arguments, which begin with { or "
};

/// Reads either form: "TYPE<｜tool▁sep｜>NAME\n```json\n" or "NAME<｜tool▁sep｜>", with some
/// tolerance for white space and a fence that is missing or too many. The result depends on the
/// text alone, never on how much of it has come so far, but that it may be kIncomplete.
CallHeader read_call_header(std::string_view text);

}  // namespace dsv3::answer
