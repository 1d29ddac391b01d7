#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "dsv3/tensor.h"

namespace dsv3::quantization {

/// A type for all tensors whose name matches, whatever the mixture says.
struct TypeOverride {
  std::string pattern;  ///< regular expression (ECMAScript), found anywhere in the GGUF name
  DType type = DType::kF32;
};

struct QuantizeOptions {
  std::string mixture = "Q4_K_M";  ///< see Mixture
  bool pure = false;               ///< one type for all instead of the mixture
  std::optional<DType> output_type, embedding_type;
  std::vector<TypeOverride> overrides;  ///< the first that matches counts
  std::filesystem::path imatrix;        ///< importance matrix, or ""
  /// Whether kv_b_proj becomes attn_k_b and attn_v_b. Unset: as a GGUF source has it; split, as
  /// llama.cpp's own converter does, for safetensors.
  std::optional<bool> split_kv_b;
  bool mtp = true;                ///< also the multi-token prediction modules, where there are any
  bool allow_requantize = false;  ///< also from tensors that are in a block format already
  uint64_t max_shard_bytes = 0;   ///< of data in a file; 0: one file
  /// Keys "tokenizer.ggml.pre" and so on are made from the folder's tokenizer unless this says to
  /// leave them out.
  bool with_tokenizer = true;
  std::string tokenizer_pre;  ///< llama.cpp's name of the pre-tokenizer; "": found by its pattern
  bool dry_run = false;       ///< plan and report, write nothing
};

/// A tensor as it is planned or written.
struct QuantizedTensor {
  std::string name;
  Shape shape;
  std::string from;  ///< type in the source: "BF16", "F8_E4M3" ...
  DType type = DType::kF32;
  uint64_t bytes = 0;
};

struct QuantizeReport {
  std::vector<QuantizedTensor> tensors;
  std::vector<std::filesystem::path> files;  ///< empty after a dry run
  int64_t parameters = 0;
  uint64_t bytes = 0;  ///< of all tensors
  double bits_per_weight() const {
    return static_cast<double>(bytes) * 8 / static_cast<double>(parameters);
  }
};

/// Writes the model of a folder with safetensors (FP8 included) or of a GGUF file as a GGUF file.
/// Norms, biases and the router stay float32. Rows are read, encoded by all threads and written a
/// few megabytes at a time, so that memory does not grow with the model; the file appears under its
/// name when it is complete. Reports progress. Throws Error for what cannot be written: a value
/// that is not finite (naming tensor and place), a source in a block format, an importance matrix
/// that does not fit, keys that GGUF does not have.
QuantizeReport quantize(const std::filesystem::path& source, const std::filesystem::path& target,
                        const QuantizeOptions& options);

}  // namespace dsv3::quantization
