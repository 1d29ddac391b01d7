#include "cli/model_tokenizer.h"

#include "checkpoint/gguf.h"
#include "text/tokenizer_gguf.h"

namespace dsv3::cli {

std::optional<Tokenizer> model_tokenizer(const std::filesystem::path& model,
                                         const std::optional<std::filesystem::path>& asked_for) {
  if (asked_for) return Tokenizer::from_file(*asked_for);
  const bool has_one = is_gguf_file(model)
                           ? read_gguf_metadata(model).contains(gguf_keys::kModel)
                           : std::filesystem::exists(model / "tokenizer.json") ||
                                 std::filesystem::exists(model / "tiktoken.model");
  return has_one ? std::optional(Tokenizer::from_file(model)) : std::nullopt;
}

}  // namespace dsv3::cli
