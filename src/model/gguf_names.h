#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace dsv3::model {

/// Where one of the model's tensors is in a GGUF file.
struct GgufTensorName {
  std::string name;               ///< "blk.3.ffn_gate_exps.weight"
  std::optional<int64_t> expert;  ///< which of [experts, rows, cols], for routed experts
};

/// `name` is an official name with the "model." prefix, as enumerate_tensors gives it; no value for
/// one that GGUF files do not have (classification heads). kv_b_proj is attn_kv_b, which many files
/// have as two halves instead, attn_k_b and attn_v_b (gguf_kv_halves). Source: gguf-py's
/// tensor_mapping for the architecture deepseek2.
std::optional<GgufTensorName> gguf_name(const std::string& name);

/// The names of the halves of attn_kv_b: W_UK of each head transposed, [heads, kv_lora_rank,
/// qk_nope_head_dim], and W_UV, [heads, v_head_dim, kv_lora_rank].
struct GgufKvHalves {
  std::string k_b, v_b;
};
GgufKvHalves gguf_kv_halves(const std::string& attn_kv_b);

}  // namespace dsv3::model
