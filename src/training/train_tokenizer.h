#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "training/documents.h"

namespace dsv3::training {

struct TokenizerTrainingOptions {
  std::vector<std::filesystem::path> inputs;  ///< files and folders, as DocumentReader takes them
  DocumentOptions documents;
  int64_t vocab_size = 0;     ///< all tokens, those of deepseek_tokenizer_json included
  int64_t min_frequency = 2;  ///< pairs of tokens that come less often are not merged
  int64_t limit_bytes = 0;    ///< stop after the document that reaches this; 0: take all
  /// Bytes of the input read so far, and in all. May be empty.
  std::function<void(int64_t done, int64_t total)> progress;
  /// Asked now and then while reading: whether to give up, leaving nothing. May be empty.
  std::function<bool()> stop;
};

struct TokenizerTrainingReport {
  int64_t vocab_size = 0;  ///< less than asked for if the text has no more pairs
  int64_t documents = 0;   ///< without empty ones
  int64_t text_bytes = 0;
  int64_t distinct_pieces = 0;
  double reading_seconds = 0, learning_seconds = 0;
  bool stopped = false;  ///< and then nothing was written
};

/// Learns a byte-level BPE with DeepSeek-V3's pre-tokenizer (learn_bpe) from documents and writes
/// tokenizer.json and tokenizer_config.json into `folder`, which is made if it is not there. The
/// same files whatever the number of threads (thread_pool()). Memory: the distinct pieces of the
/// text, for each thread. Throws Error for what cannot be read or written, if a tokenizer.json is
/// there already, for a vocab_size that has no room for the bytes, and for input without text.
TokenizerTrainingReport train_tokenizer(const std::filesystem::path& folder,
                                        const TokenizerTrainingOptions& options);

}  // namespace dsv3::training
