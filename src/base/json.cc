#include "base/json.h"

#include "base/file.h"

namespace dsv3 {

Json parse_json(std::string_view text, const std::string& where) {
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const Json::parse_error& e) {
    const size_t at = std::min(e.byte == 0 ? 0 : e.byte - 1, text.size());
    const std::string_view before = text.substr(0, at);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const size_t column = at - (before.rfind('\n') == before.npos ? 0 : before.rfind('\n') + 1) + 1;
    // The library's text ends in ": <reason>" after its own position.
    std::string reason = e.what();
    if (const size_t p = reason.find(": "); p != reason.npos) reason = reason.substr(p + 2);
    fail("{}: not valid JSON at line {}, column {}: {}", where, line, column, reason);
  } catch (const Json::exception& e) {
    fail("{}: not valid JSON: {}", where, e.what());
  }
}

Json read_json_file(const std::filesystem::path& path) {
  return parse_json(read_file(path), path.string());
}

}  // namespace dsv3
