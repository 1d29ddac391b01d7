#include <span>
#include <vector>

#include "base/profile.h"
#include "base/thread_pool.h"
#include "kernels/scratch.h"
#include "model/layers.h"
#include "ops/norm.h"

namespace dsv3::model {
namespace {

// c_Q = norm(W_DQ h), q = W_UQ c_Q (equations 6 and 7), or q = W_Q h; then RoPE on each head's q_pe
// (equation 8).
void queries(const ForwardContext& context, const MlaWeights& w, Matrix x, Matrix q) {
  static thread_local kernels::Scratch scratch;
  const profile::Scope scope(profile::Op::kQueries);
  if (w.q_proj.defined()) {
    context.linear(x, w.q_proj, q);
  } else {
    const int64_t rank = w.q_a_proj.out_features();
    const Matrix memory(scratch.get(x.rows * rank), x.rows, rank);
    const Matrix unnormed = context.kept_or(&LayerActivations::c_q_unnormed, memory);
    const Matrix c_q = context.kept_or(&LayerActivations::c_q, memory);
    context.linear(x, w.q_a_proj, unnormed);
    ops::rms_norm(unnormed, w.q_a_layernorm, kLatentNormEps, c_q);
    context.linear(c_q, w.q_b_proj, q);
  }
  const ops::MlaShape& s = context.mla_shape;
  ops::rotate(context.rotary, context.config.rope_interleave, q, s.num_heads, s.qk_head_dim(),
              s.qk_nope_head_dim);
}

// [c_KV | k_pe] = W_DKV h, c_KV normalised (equation 1), k_pe rotated and not normalised (equation
// 3), into the caches.
void cache_latents(const ForwardContext& context, const MlaWeights& w, int64_t cache_layer,
                   Matrix x) {
  static thread_local kernels::Scratch scratch;
  const profile::Scope scope(profile::Op::kLatents);
  const ops::MlaShape& s = context.mla_shape;
  const ops::Activations activations = context.options.activations;
  const Matrix kv =
      context.kept_or(&LayerActivations::kv,
                      Matrix(scratch.get(x.rows * s.cache_width()), x.rows, s.cache_width()));
  context.linear(x, w.kv_a_proj_with_mqa, kv);
  const Matrix c_kv = kv.columns(0, s.kv_lora_rank);
  if (context.kept != nullptr) copy_rows(c_kv, context.kept->c_kv_unnormed);
  ops::rms_norm(c_kv, w.kv_a_layernorm, kLatentNormEps, c_kv);
  if (context.observer.latent_up_input)
    context.observer.latent_up_input(w.kv_up, LatentUpInput::kLatents, c_kv);
  // The latent is used for nothing but as the input of kv_b_proj, so it is quantised once, here.
  if (ops::rounds_to_fp8(activations) && w.kv_up.kv_b_proj.is_fp8())
    ops::fake_quantize(c_kv, activations, c_kv);
  ops::rotate(context.rotary, context.config.rope_interleave, kv, 1, 0, s.kv_lora_rank);

  int64_t first_row = 0;
  for (const BatchSequence& sequence : context.sequences) {
    const int64_t past = sequence.cache->length();
    const auto store = [&](int64_t i) {
      sequence.cache->store(cache_layer, past + i, kv.row(first_row + i));
    };
    if (sequence.n_tokens == 1) {
      store(0);
    } else {
      thread_pool().parallel_for(sequence.n_tokens, store);
    }
    first_row += sequence.n_tokens;
  }
}

}  // namespace

void latent_attention(const ForwardContext& context, const MlaWeights& w, int64_t layer,
                      int64_t cache_layer, Matrix x, Matrix y) {
  static thread_local kernels::Scratch q_scratch, out_scratch;
  const profile::Scope scope(profile::Op::kAttention);
  const ops::MlaShape& s = context.mla_shape;
  const int64_t q_width = s.num_heads * s.qk_head_dim();
  const Matrix q = context.kept_or(&LayerActivations::q,
                                   Matrix(q_scratch.get(x.rows * q_width), x.rows, q_width));
  queries(context, w, x, q);
  cache_latents(context, w, cache_layer, x);

  static thread_local std::vector<const void*> pages;
  static thread_local std::vector<ops::MlaSequence> sequences;
  pages.clear();
  sequences.clear();
  int64_t row = 0;
  for (size_t i = 0; i < context.sequences.size(); ++i) {
    const BatchSequence& b = context.sequences[i];
    ops::MlaSequence& to = sequences.emplace_back();
    to.dtype = b.cache->dtype();
    to.n_keys = b.cache->length() + b.n_tokens;
    to.first_row = row;
    to.n_queries = b.n_tokens;
    to.visible = b.visible;
    if (context.observer.attentions)
      to.attentions = context.observer.attentions(layer, static_cast<int64_t>(i));
    if (context.kept != nullptr) to.log_sum_exp = context.kept->log_sum_exp[i];
    b.cache->append_pages(cache_layer, to.n_keys, pages);
    row += b.n_tokens;
  }
  std::span<const void* const> rest = pages;
  for (ops::MlaSequence& to : sequences) {
    const int64_t n = (to.n_keys + ops::kPageTokens - 1) / ops::kPageTokens;
    to.pages = rest.first(n);
    rest = rest.subspan(n);
  }
  const int64_t heads_width = s.num_heads * s.v_head_dim;
  const Matrix heads = context.kept_or(
      &LayerActivations::heads, Matrix(out_scratch.get(x.rows * heads_width), x.rows, heads_width));
  if (context.observer.latent_up_input) {
    std::vector<float> memory(x.rows * s.num_heads * s.kv_lora_rank);
    const Matrix weighted(memory.data(), x.rows, s.num_heads * s.kv_lora_rank);
    ops::mla_attention(s, ops::MlaForm::kAbsorbed, q, w.kv_up, sequences, heads, weighted);
    context.observer.latent_up_input(w.kv_up, LatentUpInput::kQueries, q);
    context.observer.latent_up_input(w.kv_up, LatentUpInput::kWeightedLatents, weighted);
  } else {
    ops::mla_attention(s, context.options.mla_form, q, w.kv_up, sequences, heads);
  }
  const profile::Scope output_scope(profile::Op::kOutput);
  context.linear(heads, w.o_proj, y);
}

}  // namespace dsv3::model
