#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace dsv3 {

/// Rotary embedding, as `rope_parameters` of transformers 5 or `rope_theta` + `rope_scaling` of
/// older config.json files say it. Source: Hugging Face `modeling_rope_utils.py`.
struct RopeParameters {
  std::string rope_type = "default";  ///< "default", "linear", "dynamic" or "yarn"
  double rope_theta = 10000.0;
  double factor = 1.0;
  /// YaRN only. Unset: max_position_embeddings of the config.
  std::optional<int64_t> original_max_position_embeddings;
  std::optional<double> attention_factor;  ///< multiplies cos and sin; unset: computed
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  std::optional<double> mscale;
  std::optional<double> mscale_all_dim;
  bool truncate = true;  ///< round the YaRN correction range to whole dimensions

  bool operator==(const RopeParameters&) const = default;
};

/// `quantization_config` of official checkpoints: weights as e4m3 with one scale per block.
struct QuantizationConfig {
  std::string quant_method = "fp8";
  std::string fmt = "e4m3";
  std::string activation_scheme = "dynamic";
  int64_t block_rows = 128;  ///< weight_block_size[0]: output channels
  int64_t block_cols = 128;  ///< weight_block_size[1]: input channels
  std::string scale_fmt;     ///< "" (float32 scales) or "ue8m0" (powers of two)

  bool operator==(const QuantizationConfig&) const = default;
};

/// The configuration of a `deepseek_v3` model: every field of Hugging Face's `DeepseekV3Config`
/// under its own name and with its default.
struct DeepseekV3Config {
  int64_t vocab_size = 129280;
  int64_t hidden_size = 7168;
  int64_t intermediate_size = 18432;
  int64_t moe_intermediate_size = 2048;
  int64_t num_hidden_layers = 61;
  int64_t num_attention_heads = 128;
  int64_t num_key_value_heads = 128;
  int64_t n_shared_experts = 1;
  int64_t n_routed_experts = 256;
  double routed_scaling_factor = 2.5;
  int64_t kv_lora_rank = 512;
  std::optional<int64_t> q_lora_rank = 1536;  ///< null: a single q_proj
  int64_t qk_rope_head_dim = 64;
  int64_t v_head_dim = 128;
  int64_t qk_nope_head_dim = 128;
  int64_t n_group = 8;
  int64_t topk_group = 4;
  int64_t num_experts_per_tok = 8;
  int64_t first_k_dense_replace = 3;
  bool norm_topk_prob = true;
  std::string hidden_act = "silu";
  int64_t max_position_embeddings = 4096;
  double initializer_range = 0.02;
  double rms_norm_eps = 1e-6;
  bool use_cache = true;
  std::optional<int64_t> pad_token_id;
  std::optional<int64_t> bos_token_id = 0;
  std::vector<int64_t> eos_token_id = {1};  ///< written back as a number where there is one
  int64_t pretraining_tp = 1;
  bool tie_word_embeddings = false;
  RopeParameters rope_parameters;
  bool rope_interleave = true;
  bool attention_bias = false;
  double attention_dropout = 0.0;

  /// Fields of the official files that transformers 5.12 does not read.
  std::string topk_method = "noaux_tc";
  std::string scoring_func = "sigmoid";
  int64_t moe_layer_freq = 1;  ///< ignored, as in transformers
  int64_t num_nextn_predict_layers = 0;

  std::optional<QuantizationConfig> quantization_config;
  std::string
      dtype;  ///< `dtype` or the older `torch_dtype`: "float32", "bfloat16", "float16" or ""

  /// Classification heads.
  int64_t num_labels = 2;
  std::map<int64_t, std::string> id2label;
  std::map<std::string, int64_t> label2id;
  std::string problem_type;  ///< "", "regression", "single_label_classification",
                             ///< "multi_label_classification"

  std::vector<std::string> architectures;
  bool output_hidden_states = false;
  bool output_attentions = false;

  /// Channels of a query or key head: nope, then rope.
  int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
  /// Whether decoder layer `layer` has experts. Layers from num_hidden_layers on are MTP modules.
  bool is_moe_layer(int64_t layer) const { return layer >= first_k_dense_replace; }

  /// Reads config.json text. Both the old style (`rope_theta`, `rope_scaling`, `torch_dtype`) and
  /// the new one (`rope_parameters`, `dtype`) are understood. Throws Error naming `where` (the
  /// file), the field, the value found and what is supported; unsupported features are refused
  /// here, not ignored.
  static DeepseekV3Config from_json(const std::string& text,
                                    const std::string& where = "config.json");
  /// `path` is a config.json, a folder that holds one, or a GGUF file, whose keys say the same.
  static DeepseekV3Config from_file(const std::filesystem::path& path);
  /// config.json text in the style of transformers 5, with all keys of the text it was read from
  /// that this struct does not know, untouched.
  std::string to_json() const;
  /// Throws Error if sizes do not fit together (for example a group count that does not divide the
  /// experts), naming both numbers. Called by from_json; call it after filling the struct by hand.
  void validate(const std::string& where = "config") const;

  /// The JSON object this was read from ("" if made by hand): source of the unknown keys.
  std::string original_json;

  /// All members, `original_json` included: clear that in both to compare only what it means.
  bool operator==(const DeepseekV3Config&) const = default;
};

}  // namespace dsv3
