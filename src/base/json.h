#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"

namespace dsv3 {

/// Objects keep the order of the file, so that what is written back reads like what was read.
using Json = nlohmann::ordered_json;

/// Parses JSON text; an Error names `where` (a file, usually), line and column.
Json parse_json(std::string_view text, const std::string& where);
Json read_json_file(const std::filesystem::path& path);

}  // namespace dsv3
