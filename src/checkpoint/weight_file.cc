#include "checkpoint/weight_file.h"

#include <cstring>

#include "base/error.h"

namespace dsv3 {

WeightFile::WeightFile(std::filesystem::path path, std::vector<TensorEntry> tensors,
                       std::shared_ptr<const MappedFile> mapping)
    : path_(std::move(path)), tensors_(std::move(tensors)), mapping_(std::move(mapping)) {
  index_.reserve(tensors_.size());
  for (size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].name, i);
}

const TensorEntry* WeightFile::find(std::string_view name) const {
  const auto at = index_.find(name);
  return at == index_.end() ? nullptr : &tensors_[at->second];
}

Tensor WeightFile::tensor(std::string_view name) const {
  const TensorEntry* entry = find(name);
  if (entry == nullptr) fail("{}: no tensor '{}'", path_.string(), name);
  if (mapping_ == nullptr) {
    fail("{}: tensor '{}': only the header was opened", path_.string(), name);
  }
  // The widest numbers in blocks are scales of two bytes.
  const size_t alignment = is_block_format(entry->dtype) ? 2 : dtype_size(entry->dtype);
  const std::byte* data = mapping_->data() + entry->offset;
  if (reinterpret_cast<uintptr_t>(data) % alignment == 0) {
    return Tensor::wrap(entry->dtype, entry->shape, data, mapping_);
  }
  Tensor copy = Tensor::empty(entry->dtype, entry->shape);
  if (entry->bytes > 0) std::memcpy(copy.mutable_raw(), data, entry->bytes);
  return copy;
}

}  // namespace dsv3
