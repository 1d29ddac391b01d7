#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace dsv3 {

/// The CRC-32 of zlib, PNG and zip (polynomial 0xEDB88320, reflected, inverted before and after):
/// of "123456789" it is 0xCBF43926. `before` is the CRC of the bytes that came before, so that a
/// stream may be taken in parts; 0 at its beginning.
uint32_t crc32(std::span<const std::byte> bytes, uint32_t before = 0);

}  // namespace dsv3
