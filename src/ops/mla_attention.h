#pragma once

#include <cstdint>
#include <span>

#include "kernels/attention/latent_page.h"
#include "ops/linear.h"

namespace dsv3::ops {

/// Sizes of Multi-head Latent Attention (report 2.1.1).
struct MlaShape {
  int64_t num_heads = 0;
  int64_t qk_nope_head_dim = 0;
  int64_t qk_rope_head_dim = 0;
  int64_t v_head_dim = 0;
  int64_t kv_lora_rank = 0;
  float softmax_scale = 1;
  /// Everything in float32. Otherwise caches of BF16 and I8 are computed in bf16 and 8 bits where
  /// the processor does so (docs/NUMERICS.md); F32 caches are always computed in float32. And what
  /// weights in block formats are multiplied with is rounded to 8 bits for few queries.
  bool precise = false;

  int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
  /// Width of a cached token: normalised latent c_kv, then rotated k_pe.
  int64_t cache_width() const { return kv_lora_rank + qk_rope_head_dim; }
  /// Rows of kv_b_proj that belong to a head: k_nope, then v.
  int64_t kv_head_rows() const { return qk_nope_head_dim + v_head_dim; }
};

/// What takes a latent to keys and values: W_UK and W_UV of all heads, in one of the two layouts
/// that checkpoints have.
struct LatentUpProjection {
  /// [num_heads * kv_head_rows, kv_lora_rank]: rows of k_nope of a head, then its rows of v.
  LinearWeight kv_b_proj;
  /// Without kv_b_proj, as GGUF's attn_k_b and attn_v_b:
  LinearWeight k_b_proj;  ///< [num_heads * kv_lora_rank, qk_nope_head_dim]: each W_UK transposed
  LinearWeight v_b_proj;  ///< [num_heads * v_head_dim, kv_lora_rank]

  bool is_split() const { return k_b_proj.defined(); }
};

using kernels::kPageTokens;
using kernels::LatentLayout;

/// The cached tokens of one sequence in one layer, and which rows of the batch are its new tokens
/// (they are in the cache already). Query i sees the keys 0 .. n_keys - n_queries + i.
struct MlaSequence {
  std::span<const void* const>
      pages;                  ///< page p holds tokens [64 p, 64 p + 64), as LatentLayout has it
  DType dtype = DType::kF32;  ///< of the pages: F32, BF16 or I8
  int64_t n_keys = 0;
  int64_t first_row = 0;  ///< of the queries in the batch
  int64_t n_queries = 0;
  const uint8_t* visible =
      nullptr;  ///< [n_keys], 0 for a key that nobody attends to; null: all visible
  float* attentions =
      nullptr;  ///< receives the softmax weights [num_heads, n_queries, n_keys] if not null
  /// If not null, the sequence is computed expanded, and this receives log(sum(exp(score))) of each
  /// query's scaled scores [num_heads, n_queries], -infinity where it sees no key: what the
  /// backward pass goes by.
  float* log_sum_exp = nullptr;
};

/// Which of the two equivalent computations is used.
enum class MlaForm : uint8_t {
  kAuto,      ///< the one with fewer operations, for each sequence by itself
  kAbsorbed,  ///< queries are taken into the latent space (W_UK folded into the query, W_UV after
              ///< the sum)
  kExpanded   ///< keys and values are formed from the latents, a tile at a time
};

/// Attention of all sequences' new tokens over their caches.
/// q: [tokens, num_heads * qk_head_dim], a head's nope channels, then its rotated rope channels.
/// out: [tokens, num_heads * v_head_dim].
/// The order of every sum depends only on the positions of the keys, not on the batch, the chunk or
/// the number of threads; the two forms round differently.
/// `weighted_latents` [tokens, num_heads * kv_lora_rank], if it has memory, receives what W_UV is
/// applied to, for which all sequences are computed absorbed.
void mla_attention(const MlaShape& shape, MlaForm form, Matrix q, const LatentUpProjection& up,
                   std::span<const MlaSequence> sequences, Matrix out,
                   Matrix weighted_latents = {});

/// The two forms by themselves, for sequences all computed the same way.
void mla_attention_absorbed(const MlaShape& shape, Matrix q, const LatentUpProjection& up,
                            std::span<const MlaSequence> sequences, Matrix out);
void mla_attention_expanded(const MlaShape& shape, Matrix q, const LatentUpProjection& up,
                            std::span<const MlaSequence> sequences, Matrix out);

/// Gradients of mla_attention for sequences whose keys are their queries (n_keys = n_queries;
/// nothing from earlier calls), with log_sum_exp as the forward pass gave it; pages are not looked
/// at. kv [tokens, kv_lora_rank + qk_rope_head_dim]: normalised latents, rotated keys. out and
/// d_out [tokens, num_heads * v_head_dim]: the result and its gradient. Writes dq and dkv, adds to
/// the gradient of kv_b_proj. Softmax weights are formed again in tiles of kBackwardQueries
/// queries.
void mla_attention_backward(const MlaShape& shape, Matrix q, Matrix kv,
                            const LinearWeight& kv_b_proj, std::span<const MlaSequence> sequences,
                            Matrix out, Matrix d_out, Matrix dq, Matrix dkv,
                            LinearWeight& d_kv_b_proj);
inline constexpr int64_t kBackwardQueries = 64;

/// True if the absorbed form takes fewer multiplications for this many new tokens and keys.
bool absorbed_is_cheaper(const MlaShape& shape, int64_t n_queries, int64_t n_keys);

}  // namespace dsv3::ops
