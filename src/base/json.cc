#include "base/json.h"

#include <charconv>

#include "base/file.h"

namespace dsv3 {
namespace {

constexpr int kMaxDepth = 1000;

/// Where the nesting becomes too deep; npos if nowhere. Brackets inside strings do not count.
size_t find_too_deep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) return i;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return std::string_view::npos;
}

/// The first integer of valid JSON that does not fit 64 bits; empty if there is none.
std::string_view find_long_integer(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '"') {
      for (++i; text[i] != '"'; ++i) {
        if (text[i] == '\\') ++i;
      }
    }
    const size_t end = std::min(text.find_first_not_of("+-.0123456789eE", i), text.size());
    const std::string_view number = text.substr(i, end - i);
    i = std::max(end, i + 1);
    // "e" of "true" is none, and neither is what has a point or an exponent.
    if (number.size() < 19 || number.find_first_of(".eE") != number.npos) continue;
    int64_t value = 0;
    const auto parsed = std::from_chars(number.data(), number.data() + number.size(), value);
    if (parsed.ec == std::errc::result_out_of_range) return number;
  }
  return {};
}

Json parse(std::string_view text, const std::string& where, bool comments) {
  if (const size_t at = find_too_deep(text); at != text.npos) {
    fail("{}: at byte {}: more than {} nested lists and objects", where, at, kMaxDepth);
  }
  try {
    return Json::parse(text.begin(), text.end(), nullptr, true, comments);
  } catch (const Json::parse_error& e) {
    const size_t at = std::min(e.byte == 0 ? 0 : e.byte - 1, text.size());
    const std::string_view before = text.substr(0, at);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const size_t column = at - (before.rfind('\n') == before.npos ? 0 : before.rfind('\n') + 1) + 1;
    fail("{}: not valid JSON at line {}, column {}: {}", where, line, column, json_error_reason(e));
  } catch (const Json::exception& e) {
    fail("{}: not valid JSON: {}", where, json_error_reason(e));
  }
}

}  // namespace

std::string json_error_reason(const std::exception& error) {
  // The library's text ends in ": <reason>" after its own position.
  std::string reason = error.what();
  if (const size_t p = reason.find(": "); p != reason.npos) reason = reason.substr(p + 2);
  // It can quote a string as long as the file.
  if (reason.size() > 300)
    reason = reason.substr(0, 200) + " ... " + reason.substr(reason.size() - 80);
  return reason;
}

Json parse_json(std::string_view text, const std::string& where) {
  return parse(text, where, false);
}

Json parse_commented_json(std::string_view text, const std::string& where) {
  return parse(text, where, true);
}

Json parse_exact_json(std::string_view text, const std::string& where) {
  Json json = parse_json(text, where);
  if (const std::string_view number = find_long_integer(text); !number.empty()) {
    fail("{}: integer {} does not fit 64 bits", where, number.substr(0, 40));
  }
  return json;
}

Json read_json_file(const std::filesystem::path& path) {
  return parse_json(read_file(path), path.string());
}

}  // namespace dsv3
