#pragma once

#include <cstdint>
#include <string>

#include "dsv3/tensor.h"

// Numbers, for people to read.
namespace dsv3::cli {

/// "1,234,567"
std::string with_commas(int64_t n);
/// "671.03 billion", "6.34 million", "1,234"
std::string short_count(int64_t n);
/// "688.6 GB", "12.7 MB", "512 bytes"; powers of 1000, as disks and memory prices count
std::string short_bytes(int64_t n);

/// "[3, 17]" for an element of a tensor by its number.
std::string position_string(const Shape& shape, int64_t index);

}  // namespace dsv3::cli
