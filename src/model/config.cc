#include "dsv3/config.h"

#include <cmath>

#include "base/file.h"
#include "base/log.h"
#include "checkpoint/gguf.h"
#include "model/config_json.h"
#include "model/gguf_config.h"

namespace dsv3 {
namespace {

struct Limits {
  const char* field;
  int64_t value;
  int64_t low;
  int64_t high;
};

void check_limits(const std::string& where, std::initializer_list<Limits> all) {
  for (const Limits& x : all) {
    if (x.value < x.low || x.value > x.high) {
      fail("{}: {} is {}, expected {} to {}", where, x.field, x.value, x.low, x.high);
    }
  }
}

void check_choice(const std::string& where, const char* field, const std::string& value,
                  std::initializer_list<const char*> supported) {
  for (const char* s : supported) {
    if (value == s) return;
  }
  std::string list;
  for (const char* s : supported) list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", s);
  fail("{}: {} is \"{}\", supported: {}", where, field, value, list);
}

void check_number(const std::string& where, const char* field, double value, bool fine,
                  const char* expected) {
  if (!fine || !std::isfinite(value)) {
    fail("{}: {} is {}, expected {}", where, field, value, expected);
  }
}

void check_router(const DeepseekV3Config& c, const std::string& where) {
  check_limits(where, {{"n_routed_experts", c.n_routed_experts, 1, 1 << 16},
                       {"moe_intermediate_size", c.moe_intermediate_size, 1, 1 << 24},
                       {"n_shared_experts", c.n_shared_experts, 1, 1 << 10},
                       {"n_group", c.n_group, 1, 1 << 16},
                       {"topk_group", c.topk_group, 1, 1 << 16},
                       {"num_experts_per_tok", c.num_experts_per_tok, 1, 1 << 16}});
  if (c.n_routed_experts % c.n_group != 0) {
    fail("{}: n_group {} does not divide n_routed_experts {}", where, c.n_group,
         c.n_routed_experts);
  }
  const int64_t per_group = c.n_routed_experts / c.n_group;
  if (per_group < 2) {
    fail(
        "{}: n_group {} leaves {} of n_routed_experts {} in a group; a group's score is the sum of "
        "its best 2",
        where, c.n_group, per_group, c.n_routed_experts);
  }
  if (c.topk_group > c.n_group) {
    fail("{}: topk_group {} is more than n_group {}", where, c.topk_group, c.n_group);
  }
  if (c.num_experts_per_tok > c.topk_group * per_group) {
    fail("{}: num_experts_per_tok {} is more than the {} experts in topk_group {} groups of {}",
         where, c.num_experts_per_tok, c.topk_group * per_group, c.topk_group, per_group);
  }
  check_choice(where, "topk_method", c.topk_method, {"noaux_tc"});
  check_choice(where, "scoring_func", c.scoring_func, {"sigmoid"});
  check_number(where, "routed_scaling_factor", c.routed_scaling_factor, c.routed_scaling_factor > 0,
               "a positive number");
}

void check_token_ids(const DeepseekV3Config& c, const std::string& where) {
  // The padding row of the embedding is looked at; the other ids only ever compare with tokens, so
  // that transformers too lets them pass.
  if (c.pad_token_id && (*c.pad_token_id < 0 || *c.pad_token_id >= c.vocab_size)) {
    fail("{}: pad_token_id {} is not in the vocabulary of vocab_size {}", where, *c.pad_token_id,
         c.vocab_size);
  }
  const auto note = [&](const char* field, int64_t id) {
    if (id < 0 || id >= c.vocab_size) {
      warn("{}: {} {} is not in the vocabulary of vocab_size {}", where, field, id, c.vocab_size);
    }
  };
  if (c.bos_token_id) note("bos_token_id", *c.bos_token_id);
  for (const int64_t id : c.eos_token_id) note("eos_token_id", id);
}

void check_labels(const DeepseekV3Config& c, const std::string& where) {
  check_limits(where, {{"num_labels", c.num_labels, 1, 1 << 24}});
  if (!c.id2label.empty() && c.num_labels != static_cast<int64_t>(c.id2label.size())) {
    fail("{}: num_labels {} is not the number of labels in id2label, {}", where, c.num_labels,
         c.id2label.size());
  }
  check_choice(where, "problem_type", c.problem_type,
               {"", "regression", "single_label_classification", "multi_label_classification"});
  if (c.problem_type == "single_label_classification" && c.num_labels == 1) {
    fail("{}: problem_type \"single_label_classification\" needs num_labels of 2 or more, found 1",
         where);
  }
}

}  // namespace

void DeepseekV3Config::validate(const std::string& where) const {
  check_limits(where, {{"vocab_size", vocab_size, 1, 1 << 24},
                       {"hidden_size", hidden_size, 1, 1 << 24},
                       {"intermediate_size", intermediate_size, 1, 1 << 24},
                       {"num_hidden_layers", num_hidden_layers, 1, 1 << 16},
                       {"num_attention_heads", num_attention_heads, 1, 1 << 16},
                       {"num_key_value_heads", num_key_value_heads, 1, 1 << 16},
                       {"kv_lora_rank", kv_lora_rank, 1, 1 << 24},
                       {"q_lora_rank", q_lora_rank.value_or(1), 1, 1 << 24},
                       {"qk_rope_head_dim", qk_rope_head_dim, 2, 1 << 16},
                       {"qk_nope_head_dim", qk_nope_head_dim, 1, 1 << 16},
                       {"v_head_dim", v_head_dim, 1, 1 << 16},
                       // Larger than num_hidden_layers is fine: then all are dense.
                       {"first_k_dense_replace", first_k_dense_replace, 0, INT32_MAX},
                       {"max_position_embeddings", max_position_embeddings, 1, INT32_MAX},
                       {"num_nextn_predict_layers", num_nextn_predict_layers, 0, 1 << 10}});
  if (qk_rope_head_dim % 2 != 0) {
    fail("{}: qk_rope_head_dim is {}, expected an even number: channels are rotated in pairs",
         where, qk_rope_head_dim);
  }
  if (num_key_value_heads != num_attention_heads) {
    fail(
        "{}: num_key_value_heads {} is not num_attention_heads {}; latent attention has one key "
        "and "
        "value per head",
        where, num_key_value_heads, num_attention_heads);
  }
  if (is_moe_layer(num_hidden_layers + num_nextn_predict_layers - 1)) check_router(*this, where);

  check_choice(where, "hidden_act", hidden_act, {"silu"});
  check_choice(where, "dtype", dtype, {"", "float32", "bfloat16", "float16"});
  check_number(where, "rms_norm_eps", rms_norm_eps, rms_norm_eps >= 0 && rms_norm_eps < 1,
               "0 to less than 1");
  check_number(where, "initializer_range", initializer_range, initializer_range >= 0,
               "0 or a positive number");
  check_number(where, "attention_dropout", attention_dropout,
               attention_dropout >= 0 && attention_dropout < 1, "0 to less than 1");
  check_token_ids(*this, where);
  check_labels(*this, where);
  config_json::validate_rope_parameters(*this, where);

  if (const auto& q = quantization_config) {
    check_choice(where, "quantization_config.quant_method", q->quant_method, {"fp8"});
    check_choice(where, "quantization_config.fmt", q->fmt, {"e4m3"});
    check_choice(where, "quantization_config.activation_scheme", q->activation_scheme, {"dynamic"});
    check_choice(where, "quantization_config.scale_fmt", q->scale_fmt, {"", "ue8m0"});
    check_limits(where, {{"quantization_config.weight_block_size[0]", q->block_rows, 1, 1 << 20},
                         {"quantization_config.weight_block_size[1]", q->block_cols, 1, 1 << 20}});
  }
}

DeepseekV3Config DeepseekV3Config::from_file(const std::filesystem::path& path) {
  std::error_code ec;
  std::filesystem::path file = path;
  if (std::filesystem::is_directory(path, ec)) {
    file /= "config.json";
    if (!std::filesystem::exists(file, ec)) {
      fail("{}: the folder holds no config.json", path.string());
    }
  }
  if (is_gguf_file(file)) {
    return model::config_from_gguf(Checkpoint::open(file, Checkpoint::Mode::kHeaderOnly));
  }
  return from_json(read_file(file), file.string());
}

}  // namespace dsv3
