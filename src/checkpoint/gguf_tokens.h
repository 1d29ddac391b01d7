#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/gguf_metadata.h"

namespace dsv3 {

/// The tokens that end a text, a turn or a message: those that the keys name, in this order, then
/// those that go by their text, as llama.cpp finds them. Its converter writes none of the keys for
/// the <|im_end|> of Kimi-K2 and Moonlight, which ends all that they say.
std::vector<int64_t> gguf_end_tokens(const GgufMetadata& metadata);

}  // namespace dsv3
