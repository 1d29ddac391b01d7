#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "training/window.h"

namespace dsv3::training {

struct WindowReaderOptions {
  std::vector<std::filesystem::path> shards;  ///< files of `dsv3 prepare`, or folders of them
  int64_t sequence_length = 256;
  int64_t vocab_size = 0;  ///< of the model: tokens have to be below it
  uint64_t seed = 0;
  bool shuffle = true;
};

/// Windows of sequence_length + 1 tokens at a stride of sequence_length over the tokens of all
/// shards, in an endless sequence of epochs; each epoch begins at another offset in
/// [0, sequence_length) and, if shuffled, is in another order. The shards, in the order given and
/// those of a folder by name, are one stream: a window may go over from one to the next. Where in
/// the data a window lies depends on its number, the seed and nothing else, so a number is all that
/// a run has to remember. Without `shuffle` the first epoch begins with the first token. Files are
/// mapped, not read: the data may be larger than memory. Thread-safe.
class WindowReader {
 public:
  /// Throws Error if a shard is missing, truncated, of another tokenizer than the others, or all
  /// together are shorter than a window and an offset.
  explicit WindowReader(const WindowReaderOptions& options);
  WindowReader(WindowReader&&) noexcept;
  WindowReader& operator=(WindowReader&&) noexcept;
  ~WindowReader();

  int64_t windows_per_epoch() const;
  int64_t num_tokens() const;
  /// Window `number`, from 0, counted through all epochs. Throws Error, naming shard and position,
  /// if a token is not in [0, vocab_size).
  Window window(int64_t number) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsv3::training
