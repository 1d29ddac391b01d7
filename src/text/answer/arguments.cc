#include "text/answer/arguments.h"

#include "base/json.h"
#include "text/answer/call_header.h"

namespace dsv3::answer {
namespace {

/// What parse_json accepts too.
constexpr int kMaxDepth = 1000;

}  // namespace

ArgumentsScanner::Status ArgumentsScanner::scan(std::string_view text, size_t& taken) {
  taken = 0;
  for (const char c : text) {
    if (!started_) {
      started_ = true;
      is_string_ = c == '"';
    }
    if (in_string_) {
      // A raw line break in a string is the soonest sign of one that was never closed.
      if (static_cast<unsigned char>(c) < 0x20) return Status::kMalformed;
      ++taken;
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
        if (depth_ == 0) return Status::kComplete;
      }
      continue;
    }
    if (c == '<' || c == '`') return Status::kMalformed;
    ++taken;
    if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      if (++depth_ > kMaxDepth) return Status::kMalformed;
    } else if (c == '}' || c == ']') {
      if (--depth_ == 0) return Status::kComplete;
    }
  }
  return Status::kOpen;
}

std::optional<std::string> arguments_object(const std::string& json) {
  std::string object = json;
  if (json.starts_with('"')) {
    const Json parsed = Json::parse(json, nullptr, /*allow_exceptions=*/false);
    if (!parsed.is_string()) return std::nullopt;
    object = parsed.get<std::string>();
  }
  if (!skip_spaces(object).starts_with('{') || !Json::accept(object)) return std::nullopt;
  return object;
}

}  // namespace dsv3::answer
