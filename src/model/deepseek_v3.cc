#include "model/deepseek_v3.h"

#include <algorithm>

#include "base/error.h"
#include "base/profile.h"
#include "base/thread_pool.h"
#include "kernels/scratch.h"
#include "model/layers.h"
#include "ops/embedding.h"
#include "ops/norm.h"

namespace dsv3::model {

ops::MlaShape mla_shape(const DeepseekV3Config& c, ops::Activations activations) {
  return {.num_heads = c.num_attention_heads,
          .qk_nope_head_dim = c.qk_nope_head_dim,
          .qk_rope_head_dim = c.qk_rope_head_dim,
          .v_head_dim = c.v_head_dim,
          .kv_lora_rank = c.kv_lora_rank,
          .softmax_scale = softmax_scale(c),
          .precise = activations != ops::Activations::kFast};
}

ForwardContext::ForwardContext(const DeepseekV3Config& c, const ComputeOptions& o,
                               const RaggedBatch& batch, const ForwardObserver& obs)
    : config(c), options(o), sequences(batch.sequences), observer(obs) {
  int64_t tokens = 0;
  for (const BatchSequence& s : batch.sequences) tokens += s.n_tokens;
  if (tokens != batch.embeddings.rows || tokens != static_cast<int64_t>(batch.positions.size())) {
    fail("batch: {} tokens in its sequences, {} embeddings, {} positions", tokens,
         batch.embeddings.rows, batch.positions.size());
  }
  mla_shape = model::mla_shape(c, o.activations);
  int64_t length = batch.rope_length;
  if (length == 0 && tokens > 0)
    length = 1 + *std::max_element(batch.positions.begin(), batch.positions.end());
  const RopeFrequencies frequencies = rope_frequencies(c, length);
  rotary = ops::rotary_table(batch.positions, frequencies.inv_freq, frequencies.attention_scaling);
}

void ForwardContext::linear(Matrix x, const ops::LinearWeight& w, Matrix y) const {
  if (observer.linear_input) observer.linear_input(w, x, {});
  ops::linear(x, w, y, options.activations);
}

ops::MlpObserver ForwardContext::mlp_observer(Matrix x) const {
  if (!observer.linear_input) return {};
  return [this, x](const ops::MlpWeights& w, std::span<const int32_t> rows, Matrix hidden) {
    observer.linear_input(w.gate_proj, x, rows);
    observer.linear_input(w.up_proj, x, rows);
    observer.linear_input(w.down_proj, hidden, {});
  };
}

void copy_rows(Matrix x, Matrix to) {
  thread_pool().parallel_for(x.rows, [&](int64_t t) { std::copy_n(x.row(t), x.cols, to.row(t)); });
}

void embed_tokens(const ModelWeights& weights, std::span<const int64_t> ids, Matrix out) {
  ops::embed(ids, weights.embed_tokens, out);
}

void decoder_layer(const ForwardContext& context, const LayerWeights& w, int64_t layer,
                   int64_t cache_layer, Matrix x) {
  static thread_local kernels::Scratch scratch;
  const Matrix memory(scratch.get(2 * x.rows * x.cols), x.rows, x.cols);
  const Matrix out(memory.data + x.rows * x.cols, x.rows, x.cols);
  const auto eps = static_cast<float>(context.config.rms_norm_eps);
  const profile::Scope scope(profile::Op::kNorms);  // what no scope inside takes over

  Matrix normed = context.kept_or(&LayerActivations::normed, memory);
  ops::rms_norm(x, w.input_layernorm, eps, normed);
  latent_attention(context, w.self_attn, layer, cache_layer, normed, out);
  ops::add(out, x);

  normed = context.kept_or(&LayerActivations::middle_normed, memory);
  if (context.kept != nullptr) copy_rows(x, context.kept->middle);
  ops::rms_norm(x, w.post_attention_layernorm, eps, normed);
  if (context.config.is_moe_layer(layer)) {
    moe(context, w.moe, layer, normed, out);
  } else {
    const profile::Scope mlp_scope(profile::Op::kFeedForward);
    ops::mlp(normed, w.mlp, out, context.options.activations, context.mlp_observer(normed),
             context.kept != nullptr ? &context.kept->experts.shared : nullptr);
  }
  ops::add(out, x);
}

namespace {

// Makes room for what a layer leaves behind; x is its input.
void keep_layer(ForwardContext& context, int64_t layer, Matrix x, Activations& keep) {
  const DeepseekV3Config& c = context.config;
  const ops::MlaShape& s = context.mla_shape;
  const bool all = !keep.recompute();
  if (keep.layers.empty()) keep.rotary = context.rotary;
  LayerActivations& to = keep.layers.emplace_back();
  to.input = keep.copy(x);
  to.middle = keep.matrix(x.rows, x.cols);
  if (c.q_lora_rank) to.c_q_unnormed = keep.matrix(x.rows, *c.q_lora_rank);
  to.c_kv_unnormed = keep.matrix(x.rows, s.kv_lora_rank);
  to.kv = keep.matrix(x.rows, s.cache_width());
  to.heads = keep.matrix(x.rows, s.num_heads * s.v_head_dim);
  for (const BatchSequence& sequence : context.sequences)
    to.log_sum_exp.push_back(keep.matrix(s.num_heads, sequence.n_tokens).data);
  if (all) {
    to.normed = keep.matrix(x.rows, x.cols);
    to.middle_normed = keep.matrix(x.rows, x.cols);
    if (c.q_lora_rank) to.c_q = keep.matrix(x.rows, *c.q_lora_rank);
    to.q = keep.matrix(x.rows, s.num_heads * s.qk_head_dim());
  }
  const auto mlp = [&](int64_t rows, int64_t inner) {
    return ops::MlpActivations{keep.matrix(rows, inner), keep.matrix(rows, inner)};
  };
  if (!c.is_moe_layer(layer)) {
    to.experts.shared = mlp(x.rows, c.intermediate_size);
  } else {
    to.experts.routed = mlp(x.rows * c.num_experts_per_tok, c.moe_intermediate_size);
    if (c.n_shared_experts > 0)
      to.experts.shared = mlp(x.rows, c.moe_intermediate_size * c.n_shared_experts);
  }
  context.kept = &to;
}

void prepare_caches(std::span<const BatchSequence> sequences) {
  for (const BatchSequence& s : sequences) s.cache->prepare(s.n_tokens);
}
void commit_caches(std::span<const BatchSequence> sequences) {
  for (const BatchSequence& s : sequences) s.cache->commit(s.n_tokens);
}

}  // namespace

void forward(const DeepseekV3Config& config, const ModelWeights& weights,
             const ComputeOptions& options, const RaggedBatch& batch, Matrix last_hidden_state,
             const ForwardObserver& observer, Activations* keep) {
  ForwardContext context(config, options, batch, observer);
  prepare_caches(batch.sequences);
  const Matrix x = batch.embeddings;
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    if (observer.layer_input) observer.layer_input(layer, x);
    if (keep != nullptr) keep_layer(context, layer, x, *keep);
    // Caches that serve no later call keep one layer at a time.
    const int64_t cache_layer =
        batch.sequences.empty() || batch.sequences[0].cache->num_layers() > 1 ? layer : 0;
    decoder_layer(context, weights.layers[layer], layer, cache_layer, x);
    if (options.after_layer) options.after_layer(layer);
  }
  if (keep != nullptr) keep->last = keep->copy(x);
  const profile::Scope scope(profile::Op::kNorms);
  ops::rms_norm(x, weights.norm, static_cast<float>(config.rms_norm_eps), last_hidden_state);
  commit_caches(batch.sequences);
}

void forward_mtp(const DeepseekV3Config& config, const MtpWeights& module, int64_t module_index,
                 const ComputeOptions& options, const RaggedBatch& batch, Matrix previous,
                 Matrix hidden_states, const ForwardObserver& observer, Activations* keep) {
  static thread_local kernels::Scratch scratch;
  ForwardContext context(config, options, batch, observer);
  prepare_caches(batch.sequences);
  const auto eps = static_cast<float>(config.rms_norm_eps);
  const int64_t tokens = batch.embeddings.rows, hidden = config.hidden_size;
  const Matrix x(scratch.get(3 * tokens * hidden), tokens, hidden);
  Matrix both(x.data + tokens * hidden, tokens, 2 * hidden);
  if (keep != nullptr) {
    keep->embeddings = keep->copy(batch.embeddings);
    keep->previous = keep->copy(previous);
    both = keep->both = keep->matrix(tokens, 2 * hidden);
  }
  ops::rms_norm(batch.embeddings, module.enorm, eps, both.columns(0, hidden));
  ops::rms_norm(previous, module.hnorm, eps, both.columns(hidden, hidden));
  if (observer.linear_input) observer.linear_input(module.eh_proj, both, {});
  ops::linear(both, module.eh_proj, x, options.activations);
  const int64_t layer = config.num_hidden_layers + module_index;
  if (keep != nullptr) keep_layer(context, layer, x, *keep);
  decoder_layer(context, module.layer, layer, 0, x);
  if (keep != nullptr) keep->last = keep->copy(x);
  ops::rms_norm(x, module.shared_head_norm, eps, hidden_states);
  commit_caches(batch.sequences);
}

}  // namespace dsv3::model
