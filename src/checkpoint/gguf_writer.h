#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"

namespace dsv3 {

struct GgufWriterOptions {
  /// 0: one file. Otherwise a file is closed before the tensor that would make its data larger; a
  /// larger tensor gets its own.
  uint64_t max_shard_bytes = 0;
};

/// Writes a GGUF model (version 3) whose tensors are made one after the other; only a part of one
/// need be in memory.
///
///     GgufWriter writer(path, metadata, plan);
///     for (...) writer.write(name, tensor);
///     writer.finish();
///
/// Several files are named PATH-00001-of-00003.gguf (PATH without its own ".gguf"), and have the
/// keys with which llama.cpp splits: the first has the metadata. All is written under temporary
/// names; `finish` puts all files on disk before it renames the first of them, and renames the one
/// with the metadata last, so that a run that is killed leaves nothing that looks complete.
/// `write` and `write_part` may be called by several threads.
class GgufWriter {
 public:
  /// The tensors lie in the order of the plan, aligned to the metadata's general.alignment, or 32.
  /// Throws Error for a name that occurs twice or is too long for ggml, for more than four
  /// dimensions, for a type that GGUF does not have, or a folder that cannot be written.
  GgufWriter(const std::filesystem::path& path, GgufMetadata metadata,
             const std::vector<TensorPlan>& plan, GgufWriterOptions options = {});
  ~GgufWriter();
  GgufWriter(const GgufWriter&) = delete;
  GgufWriter& operator=(const GgufWriter&) = delete;

  /// Each planned tensor once, in any order, with the planned type and shape.
  void write(std::string_view name, const Tensor& tensor);
  /// A part of a tensor that is too large to be made at once: bytes from `first_byte` of it on. The
  /// parts must cover it once; their order is free.
  void write_part(std::string_view name, uint64_t first_byte, std::span<const std::byte> bytes);
  /// Throws Error naming the tensors that were planned but not, or not wholly, written.
  void finish();

  /// The files, in their order.
  std::vector<std::filesystem::path> paths() const;

 private:
  struct Shard;
  struct Place {
    size_t shard;
    TensorEntry entry;
    uint64_t written = 0;  // bytes
  };
  Place& place(std::string_view name);

  std::string where_;
  std::vector<Shard> shards_;
  std::unordered_map<std::string, Place> places_;
  std::mutex mutex_;  // of Place::written
};

/// Writes tensors that are all at hand, into one file.
void write_gguf(const std::filesystem::path& path, GgufMetadata metadata,
                std::span<const NamedTensor> tensors);

}  // namespace dsv3
