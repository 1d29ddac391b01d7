#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"

namespace dsv3 {

/// Objects keep the order of the file, so that what is written back reads like what was read.
using Json = nlohmann::ordered_json;

/// Why the JSON library refused a text, without its own prefix and shortened to one line's length.
std::string json_error_reason(const std::exception& error);

/// Parses JSON text; an Error names `where` (a file, usually), line and column. Refuses more than
/// 1000 levels of lists and objects, which would exhaust the stack where such a value is printed.
Json parse_json(std::string_view text, const std::string& where);
/// The same, but refuses integers beyond 64 bits, which above become floats: for what is to be
/// printed again as it was.
Json parse_exact_json(std::string_view text, const std::string& where);
/// The same as parse_json for text that may have // and /* */ comments.
Json parse_commented_json(std::string_view text, const std::string& where);
Json read_json_file(const std::filesystem::path& path);

}  // namespace dsv3
