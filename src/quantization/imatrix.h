#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "dsv3/tensor.h"

namespace dsv3::quantization {

/// What went into a weight: x^2 of each of its input channels, summed over the tokens of a text. A
/// tensor of several matrices (experts, heads) has sums for each.
struct InputSquares {
  std::vector<double> sums;  ///< [matrices * in]
  /// Tokens: one number for each matrix, or, where all matrices saw the same tokens, one for all.
  std::vector<int64_t> counts;
};

/// An importance matrix ("imatrix"): how much each input channel of each weight matters to what the
/// model computes. Rounding weights of a channel that is always near zero harms nobody.
struct ImportanceMatrix {
  std::map<std::string, InputSquares, std::less<>> tensors;  ///< by GGUF name
  std::vector<std::string> datasets;                         ///< the texts
  int64_t chunk_count = 0;                                   ///< how many of chunk_size tokens
  int64_t chunk_size = 0;

  /// Mean x^2 of the input channels, [in], of matrix `matrix` (expert or head, otherwise 0) of the
  /// tensor `name` of shape [rows, in] or [matrices, rows, in]; empty if nothing is known of it.
  ///
  /// A matrix that saw fewer than kEnoughTokens tokens is given the rest of these as average tokens
  /// of the tensor's other matrices, so that an expert that was never chosen is treated as the
  /// average of its neighbours (llama.cpp: all channels alike). attn_v_b and attn_kv_b, which have
  /// the same input before and after it is weighted, stand in for each other.
  /// Throws Error if the numbers do not fit the shape. Any thread may call it.
  std::vector<float> importance(std::string_view name, const Shape& shape, int64_t matrix) const;
  static constexpr int64_t kEnoughTokens = 32;

  /// Adds what another text gave. Throws Error if the two are not of the same model; this one is
  /// then unchanged.
  void add(const ImportanceMatrix& other);

  /// Reads llama.cpp's files, GGUF or the older ".dat". Of the latter, which does not tell, it is
  /// taken that a chunk had kLegacyChunk tokens and each matrix saw all of them. Throws Error
  /// naming the file, the tensor and what is wrong.
  static ImportanceMatrix read(const std::filesystem::path& path);
  static constexpr int64_t kLegacyChunk = 512;

  /// Writes GGUF as llama-imatrix does, for it and llama-quantize to read; sums are rounded to
  /// float32. The file appears under its name when it is complete.
  void write(const std::filesystem::path& path) const;
};

}  // namespace dsv3::quantization
