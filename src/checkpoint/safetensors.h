#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/weight_file.h"
#include "dsv3/tensor.h"

// The safetensors format: 8 bytes with the length of the header (little endian), the header (a JSON
// object from tensor name to dtype, shape and data_offsets), then the data of all tensors without
// gaps, row-major and little endian.
namespace dsv3 {

using SafetensorsMetadata = std::map<std::string, std::string>;

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;  ///< in the order of the data
  SafetensorsMetadata metadata;      ///< the strings of `__metadata__`
};

/// Checks and reads the header of a file that is wholly in memory. Throws Error naming `where` (the
/// file), the tensor and what is wrong with it. Everything the format asks for is checked: dtypes,
/// sizes, bounds, that no tensors overlap and that no byte belongs to none.
SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& where);

/// The header of a file on disk; reads nothing else, but checks the size of the file.
SafetensorsHeader read_safetensors_header(const std::filesystem::path& path);

/// An open file.
class SafetensorsFile final : public WeightFile {
 public:
  /// Maps the file; nothing but the header is read until a tensor is looked at.
  static std::shared_ptr<const SafetensorsFile> open(const std::filesystem::path& path);
  /// Names, types and shapes only: `tensor` throws.
  static std::shared_ptr<const SafetensorsFile> open_header_only(const std::filesystem::path& path);

  const SafetensorsMetadata& metadata() const { return metadata_; }

 private:
  SafetensorsFile(std::filesystem::path path, SafetensorsHeader header,
                  std::shared_ptr<const MappedFile> mapping);

  SafetensorsMetadata metadata_;
};

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// Where each tensor of a file to be written will lie.
struct SafetensorsLayout {
  std::string head;                  ///< length and header: the first bytes of the file
  std::vector<TensorEntry> tensors;  ///< in the order given, with offsets
  uint64_t file_bytes = 0;
};

/// Lays out a file. Only name, dtype and shape of the entries are read. The data goes in the order
/// of falling element size, then by name, so that every tensor is aligned. Throws Error for a name
/// that occurs twice or that the format reserves.
SafetensorsLayout lay_out_safetensors(std::vector<TensorEntry> tensors,
                                      const SafetensorsMetadata& metadata);

/// Writes a file; it appears under its name when it is complete. transformers wants the metadata
/// {"format": "pt"}.
void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const SafetensorsMetadata& metadata = {{"format", "pt"}});

}  // namespace dsv3
