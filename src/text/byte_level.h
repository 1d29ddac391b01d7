#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dsv3 {

/// The printable letter that stands for a byte in the vocabulary of a byte-level BPE (GPT-2's
/// table): the byte itself where Latin-1 prints it, else the next of U+0100, U+0101, ...; a space is
/// U+0120 'Ġ'.
char32_t byte_level_letter(uint8_t byte);

/// The bytes that `token` (valid UTF-8) stands for; nullopt if it has a character that is no such
/// letter.
std::optional<std::string> byte_level_bytes(std::string_view token);

}  // namespace dsv3
