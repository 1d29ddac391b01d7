#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "dsv3/tensor.h"

namespace dsv3 {

/// One tensor as the header of its file describes it.
struct TensorEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t offset = 0;  ///< of its first byte, from the beginning of the file
  uint64_t bytes = 0;
};

/// An open file of tensors, whatever its format. Immutable, so that any thread may use it.
class WeightFile {
 public:
  virtual ~WeightFile() = default;
  WeightFile(const WeightFile&) = delete;
  WeightFile& operator=(const WeightFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// In the order of the data.
  const std::vector<TensorEntry>& tensors() const { return tensors_; }
  /// nullptr if the file has no such tensor.
  const TensorEntry* find(std::string_view name) const;
  /// The tensor's bytes in the mapped file, which the result keeps alive; a copy if they are not
  /// aligned to the element type. Throws Error if there is no such tensor, or if only the header
  /// was opened.
  Tensor tensor(std::string_view name) const;

 protected:
  /// `tensors` are all within the mapping, which is absent if only the header was opened.
  WeightFile(std::filesystem::path path, std::vector<TensorEntry> tensors,
             std::shared_ptr<const MappedFile> mapping);

 private:
  std::filesystem::path path_;
  std::vector<TensorEntry> tensors_;
  std::unordered_map<std::string_view, size_t> index_;  // into tensors_, whose names it views
  std::shared_ptr<const MappedFile> mapping_;
};

}  // namespace dsv3
