// A configuration for this folder's tests: small, with rows that are whole blocks of 256.
#pragma once

#include "dsv3/config.h"

namespace dsv3::benchmark {

inline DeepseekV3Config small_config() {
  DeepseekV3Config c;
  c.vocab_size = 320;
  c.hidden_size = 256;
  c.intermediate_size = 512;
  c.moe_intermediate_size = 256;
  c.num_hidden_layers = 3;
  c.num_attention_heads = c.num_key_value_heads = 4;
  c.n_routed_experts = 16;
  c.num_experts_per_tok = 4;
  c.n_group = 4;
  c.topk_group = 2;
  c.kv_lora_rank = 256;
  c.q_lora_rank = 256;
  c.qk_nope_head_dim = 64;
  c.qk_rope_head_dim = 32;
  c.v_head_dim = 64;
  c.first_k_dense_replace = 1;
  c.max_position_embeddings = 256;
  c.validate();
  return c;
}

}  // namespace dsv3::benchmark
