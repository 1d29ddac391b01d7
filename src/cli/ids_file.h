#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace dsv3::cli {

/// Token ids from a file of little-endian int32, as `eval` and `imatrix` take instead of a text.
std::vector<int64_t> read_ids(const std::filesystem::path& path);

}  // namespace dsv3::cli
