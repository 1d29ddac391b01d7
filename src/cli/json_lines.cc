#include "cli/json_lines.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/generate_report.h"
#include "dsv3/chat_template.h"

namespace dsv3::cli {
namespace {

Json error_json(const std::exception& error) {
  Json json = {{"message", error.what()}};
  if (const auto* at = dynamic_cast<const TemplateError*>(&error)) {
    json["reason"] = at->reason();
    json["phase"] = at->phase() == TemplateError::Phase::kParse ? "parse" : "render";
    json["line"] = at->line();
    json["column"] = at->column();
    json["raised_by_template"] = at->raised_by_template();
  }
  return {{"error", json}};
}

/// Appends what standard input has, waiting for at least something; false at its end.
bool read_more(std::string& buffer) {
  char bytes[1 << 16];
  while (true) {
    const ssize_t n = ::read(STDIN_FILENO, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("standard input: {}", std::strerror(errno));
    buffer.append(bytes, static_cast<size_t>(n));
    return n > 0;
  }
}

}  // namespace

int filter_json_lines(
    const std::function<Json(const Json& line, const std::string& where)>& answer) {
  bool good = true;
  size_t number = 0;
  const auto take = [&](std::string_view line) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) return;
    Json result;
    try {
      const std::string where = fmt::format("standard input:{}", number);
      const Json object = parse_exact_json(line, where);
      if (!object.is_object()) fail("{}: expected an object", where);
      result = answer(object, where);
    } catch (const Error& error) {
      result = error_json(error);
      good = false;
    }
    write_out(json_line(result));
  };

  std::string buffer;
  bool more = true;
  while (more) {
    const size_t searched = buffer.size();  // has no end of line
    more = read_more(buffer);
    size_t begin = 0;
    for (size_t end; (end = buffer.find('\n', std::max(begin, searched))) != std::string::npos;
         begin = end + 1) {
      take(std::string_view(buffer).substr(begin, end - begin));
    }
    buffer.erase(0, begin);
    flush_out();
  }
  if (!buffer.empty()) take(buffer);
  return good ? kDone : kFailed;
}

bool bool_member(const Json& object, const char* key, bool fallback, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return fallback;
  if (!found->is_boolean()) fail("{}: {}: expected true or false", where, key);
  return found->get<bool>();
}

}  // namespace dsv3::cli
