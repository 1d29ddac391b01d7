#pragma once

#include <filesystem>
#include <vector>

#include "training/token_shard.h"

// Helpers of the tests in this folder.
namespace dsv3::training {

using Documents = std::vector<std::vector<int64_t>>;

inline constexpr uint64_t kTestTokenizer = 0x1234;

inline std::filesystem::path write_shard(const std::filesystem::path& path,
                                         const Documents& documents, int64_t vocab_size = 1000,
                                         uint64_t tokenizer = kTestTokenizer) {
  TokenShardWriter writer(path, vocab_size, tokenizer);
  for (const auto& document : documents) writer.add(document);
  writer.finish();
  return path;
}

/// Documents of 1, 2, ... `longest`, 1, 2 ... tokens, `tokens` in all; token i is `first` + i.
inline Documents counting_documents(int64_t tokens, int64_t longest, int64_t first = 0) {
  Documents documents;
  int64_t i = 0;
  for (int64_t length = 1; i < tokens; length = length % longest + 1) {
    documents.emplace_back();
    for (int64_t j = 0; j < length && i < tokens; ++j) documents.back().push_back(first + i++);
  }
  return documents;
}

}  // namespace dsv3::training
