#pragma once

#include <filesystem>
#include <optional>

#include "dsv3/tokenizer.h"

namespace dsv3::cli {

/// The tokenizer that was asked for (--tokenizer), or else the model's; nothing if it has none.
std::optional<Tokenizer> model_tokenizer(const std::filesystem::path& model,
                                         const std::optional<std::filesystem::path>& asked_for);

}  // namespace dsv3::cli
