#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "checkpoint/gguf.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/weight_file.h"
#include "dsv3/tensor.h"

namespace dsv3 {

/// A tensor of a checkpoint, without its elements.
struct TensorInfo {
  std::string shard;  ///< name of the file that holds it
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t bytes = 0;
};

/// The weights of a model: one safetensors file, or shards and their index, or a GGUF file, or all
/// files of a split GGUF model. Immutable after `open`, so that any thread may use it; copies share
/// the open files.
class Checkpoint {
 public:
  enum class Mode {
    kMapped,      ///< tensors can be read; pages come in when they are looked at
    kHeaderOnly,  ///< names, types and shapes only
  };

  /// `path`: a folder with model.safetensors or model.safetensors.index.json (in this order of
  /// preference, as in transformers), a *.safetensors file, or a GGUF file. Every shard that the
  /// index names, or every file of a split GGUF, is opened and checked; throws Error naming all
  /// missing shards, tensors that are not in the shard the index says, or what a folder without
  /// safetensors holds instead. A GGUF's tensors keep the names that they have in the file.
  static Checkpoint open(const std::filesystem::path& path, Mode mode = Mode::kMapped);

  const std::filesystem::path& path() const { return path_; }
  /// Of all tensors, sorted.
  const std::vector<std::string>& names() const { return names_; }
  bool contains(std::string_view name) const { return index_.contains(std::string(name)); }
  std::optional<TensorInfo> find(std::string_view name) const;
  /// The elements, shared with the mapped file. Throws Error if there is no such tensor.
  Tensor tensor(std::string_view name) const;
  /// Of the elements of all tensors.
  uint64_t total_bytes() const { return total_bytes_; }
  /// The open files, in the order of their names.
  const std::vector<std::shared_ptr<const WeightFile>>& shards() const { return shards_; }
  /// The keys of a GGUF file, of the first if there are several; nullptr for safetensors.
  const GgufMetadata* gguf_metadata() const { return gguf_ ? &gguf_->metadata() : nullptr; }

 private:
  void add(const std::string& name, size_t shard);
  /// Of all shards.
  void add_all_tensors();

  std::filesystem::path path_;
  std::vector<std::shared_ptr<const WeightFile>> shards_;
  std::shared_ptr<const GgufFile> gguf_;           // the first shard if it is one
  std::unordered_map<std::string, size_t> index_;  // name to shard
  std::vector<std::string> names_;
  uint64_t total_bytes_ = 0;
};

/// A tensor that is going to be written.
struct TensorPlan {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
};

struct CheckpointWriterOptions {
  /// A shard is closed before the tensor that would make it larger. A larger tensor gets its own.
  uint64_t max_shard_bytes = 5'000'000'000;
  /// transformers wants "format".
  SafetensorsMetadata metadata = {{"format", "pt"}};
};

/// Saves a checkpoint whose tensors are made one after the other; only one need be in memory.
///
///     CheckpointWriter writer(folder, plan);
///     for (...) writer.write(name, tensor);
///     writer.finish();
///
/// Everything is written under temporary names. `finish` puts all files on disk before it renames
/// the first, renames the index last and then removes shards of an earlier save that the new index
/// does not name. Without `finish` the folder stays as it was. Not thread safe.
class CheckpointWriter {
 public:
  /// Makes the folder if needed. The plan's order decides which tensors share a shard. Throws Error
  /// for an empty plan, a name that occurs twice, or a folder that cannot be written.
  CheckpointWriter(std::filesystem::path folder, const std::vector<TensorPlan>& plan,
                   CheckpointWriterOptions options = {});
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Each planned tensor once, in any order, with the planned dtype and shape.
  void write(std::string_view name, const Tensor& tensor);
  /// Throws Error naming the tensors that were planned but not written.
  void finish();

 private:
  struct Shard;
  struct Place {
    size_t shard;
    TensorEntry entry;
    bool written = false;
  };

  std::filesystem::path folder_;
  std::vector<Shard> shards_;
  std::unordered_map<std::string, Place> places_;
  uint64_t total_bytes_ = 0;
};

/// Saves tensors that are all at hand.
void save_checkpoint(const std::filesystem::path& folder, std::span<const NamedTensor> tensors,
                     CheckpointWriterOptions options = {});

}  // namespace dsv3
