#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/gguf_metadata.h"
#include "checkpoint/weight_file.h"
#include "dsv3/tensor.h"

// The GGUF format of ggml and llama.cpp: "GGUF", a version, counts, keys with typed values, then
// name, dimensions, type and offset of each tensor, then, aligned, their data. All little endian.
// Dimensions are written fastest first; our shapes are row-major, so they are reversed here.
namespace dsv3 {

inline constexpr uint64_t kGgufDefaultAlignment = 32;
inline constexpr const char* kGgufAlignmentKey = "general.alignment";
inline constexpr const char* kGgufArchitectureKey = "general.architecture";

struct GgufHeader {
  uint32_t version = 3;
  GgufMetadata metadata;
  uint64_t alignment = kGgufDefaultAlignment;
  std::vector<TensorEntry> tensors;  ///< in the order of the data
};

/// Checks and reads the header of a file that is wholly in memory or mapped. Throws Error naming
/// `where` (the file), the key or tensor, and what is wrong with it. Versions 2 and 3 are read.
/// Every count and length is checked against the size of the file before memory is asked for;
/// offsets must be aligned, within the file and without overlaps, names and keys unique, types
/// known.
GgufHeader parse_gguf(std::span<const std::byte> file, const std::string& where);

/// Whether a path is to be read as GGUF: a file with this extension, or with GGUF's first bytes
/// (Ollama's files have no extension).
bool is_gguf_file(const std::filesystem::path& path);

/// An open file.
class GgufFile final : public WeightFile {
 public:
  /// Maps the file; nothing but the header is read until a tensor is looked at.
  static std::shared_ptr<const GgufFile> open(const std::filesystem::path& path);
  /// Metadata, names, types and shapes only: `tensor` throws.
  static std::shared_ptr<const GgufFile> open_header_only(const std::filesystem::path& path);

  const GgufMetadata& metadata() const { return metadata_; }
  uint32_t version() const { return version_; }

 private:
  GgufFile(std::filesystem::path path, GgufHeader header,
           std::shared_ptr<const MappedFile> mapping);

  GgufMetadata metadata_;
  uint32_t version_;
};

/// A file name of a split model: "NAME-00002-of-00003.gguf".
struct GgufSplitName {
  std::string prefix;  ///< NAME
  size_t number = 1;   ///< counted from 1
  size_t count = 1;

  std::string file_name() const;
  static std::optional<GgufSplitName> parse(std::string_view file_name);
};

/// The keys of a split model's files.
inline constexpr const char* kGgufSplitNumberKey = "split.no";  // counted from 0
inline constexpr const char* kGgufSplitCountKey = "split.count";
inline constexpr const char* kGgufSplitTensorsKey = "split.tensors.count";  // in all files together

/// Opens a model: the file itself, or all files of a split model in their order, of which `path` is
/// any. The metadata are in the first. Throws Error naming all files that are missing, or a file
/// that does not belong to the others.
std::vector<std::shared_ptr<const GgufFile>> open_gguf_model(const std::filesystem::path& path,
                                                             bool header_only = false);

/// The metadata of a model; of a split model, those of its first file. Reads nothing else.
GgufMetadata read_gguf_metadata(const std::filesystem::path& path);

/// GGUF's number of a type; throws Error for a type that it does not have.
uint32_t gguf_type_of(DType dtype);

}  // namespace dsv3
