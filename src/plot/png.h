#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace dsv3::plot {

/// A PNG file of 8-bit RGB pixels, [height, width, 3]. Compressed by rows' differences and runs,
/// which is what drawings of few colours consist of; photographs would not become smaller.
std::string png_file(std::span<const uint8_t> rgb, int64_t width, int64_t height);

}  // namespace dsv3::plot
