#pragma once

#include <string>
#include <string_view>

namespace dsv3 {

/// The normal forms of Unicode as Hugging Face tokenizers has them: their tables are those of
/// Unicode 9, so that a newer character stays as it is.
enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// `text` (valid UTF-8) in a normal form.
std::string normalize(std::string_view text, NormalForm form);

/// Each character in lower case by itself, İ as i with a dot above.
std::string to_lower_case(std::string_view text);

/// Without combining marks (those of Unicode 9).
std::string without_accents(std::string_view text);

}  // namespace dsv3
