#pragma once

#include <cstddef>
#include <string_view>

// How wide text is on a terminal. All texts are valid UTF-8.
namespace dsv3::terminal {

/// Columns of a character: 2 for East Asian wide ones and most emoji, 0 for marks and joiners that
/// go with the character before. Terminals differ on joined emoji; this is what most of them do.
int character_width(char32_t c);

/// Columns of a tab, wherever it stands.
inline constexpr int kTabWidth = 4;

/// The end of what a person sees as one character at `begin`: with its marks, joined emoji, flags.
size_t cluster_end(std::string_view text, size_t begin);
/// The beginning of the one that ends at `end`, which is above 0.
size_t cluster_begin(std::string_view text, size_t end);

/// Columns of text without line breaks.
int text_width(std::string_view text);

}  // namespace dsv3::terminal
