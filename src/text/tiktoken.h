#pragma once

#include <string_view>
#include <vector>

#include "text/bpe.h"
#include "text/vocabulary.h"

namespace dsv3 {

/// What tokenization_kimi.py splits with.
inline constexpr std::string_view kKimiPattern =
    R"([\p{Han}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*)"
    R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+)"
    R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// Reads tiktoken.model, lines of a token's bytes in base64, a space and its rank, into an empty
/// vocabulary: the id is the rank, the text has GPT-2's letters for bytes. Throws Error naming the
/// line.
void read_tiktoken_vocabulary(std::string_view text, Vocabulary& vocabulary);

/// tiktoken merges the neighbours that together are the token of the lowest rank: a merge for each
/// pair of tokens that together are a token.
std::vector<Merge> tiktoken_merges(const Vocabulary& vocabulary);

}  // namespace dsv3
