#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/pretrained.h"

namespace dsv3::model {

/// A tensor of a GGUF file as it is made from a model in memory: a matrix of rows, for routed
/// experts the rows of all of them.
struct GgufTensor {
  /// How the rows are made from `parts`.
  enum class Layout : uint8_t {
    kStacked,    ///< the parts under each other
    kKeyHalf,    ///< attn_k_b from kv_b_proj: of each head the rows of k_nope, transposed
    kValueHalf,  ///< attn_v_b from kv_b_proj: of each head the rows of v
    kJoined,     ///< kv_b_proj from the halves
  };

  std::string name;  ///< "blk.3.ffn_gate_exps.weight"
  Shape shape;
  TensorRole role = TensorRole::kLinear;
  int64_t layer = -1;  ///< -1: of no layer
  Layout layout = Layout::kStacked;
  std::vector<ops::LinearWeight> parts;
  ops::MlaShape mla;  ///< for the layouts of kv_b_proj

  int64_t rows() const;
  int64_t cols() const { return shape.back(); }
  /// Rows [begin, end) as float32. Any thread may call it. Rows of kKeyHalf and kJoined are made a
  /// head at a time: ask for many.
  void decode(int64_t begin, int64_t end, float* out) const;
  /// The type of the bytes that may be copied as they are; none if rows must be decoded.
  std::optional<DType> stored_type() const;
  /// Those of rows [begin, end), which must lie in one part: as many as rows_stored_from(begin).
  const void* stored_rows(int64_t begin) const;
  int64_t rows_stored_from(int64_t begin) const;
};

/// All tensors of a model, MTP modules too if they are loaded, in the order of the forward pass.
/// `split_kv_b`: kv_b_proj as attn_k_b and attn_v_b. Shares the model's memory. Throws Error for a
/// tensor that GGUF files do not have.
std::vector<GgufTensor> gguf_tensors(const LoadedModel& model, bool split_kv_b);

}  // namespace dsv3::model
