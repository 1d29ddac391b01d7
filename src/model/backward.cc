#include "model/backward.h"

#include <algorithm>
#include <vector>

#include "kernels/scratch.h"
#include "model/layers.h"
#include "ops/losses.h"
#include "ops/norm.h"

namespace dsv3::model {
namespace {

constexpr ops::Activations kFast = ops::Activations::kFast;

/// What all layers of a backward pass share.
struct BackwardContext {
  const DeepseekV3Config& config;
  std::span<const BatchSequence> sequences;
  ops::MlaShape shape;
  const ops::RotaryTable& rotary;
  ops::RotaryTable rotary_back;
  float eps;
  ops::SequenceBalance balance;
  std::vector<int64_t> lengths;

  BackwardContext(const DeepseekV3Config& c, std::span<const BatchSequence> s,
                  const Activations& kept, double balance_token_weight)
      : config(c),
        sequences(s),
        shape(mla_shape(c, kFast)),
        rotary(kept.rotary),
        rotary_back(ops::transposed(kept.rotary)),
        eps(static_cast<float>(c.rms_norm_eps)) {
    for (const BatchSequence& sequence : s) lengths.push_back(sequence.n_tokens);
    balance = {lengths, balance_token_weight};
  }
};

// norm(x) as the forward pass had it: what it kept, or anew in `memory`.
Matrix normed_again(Matrix kept, Matrix x, const Tensor& weight, float eps, float* memory) {
  if (kept.data != nullptr) return kept;
  const Matrix y(memory, x.rows, x.cols);
  ops::rms_norm(x, weight, eps, y);
  return y;
}

// Attention's queries and, below it, their projections. dq is overwritten; d_normed is written.
class Queries {
 public:
  Queries(const BackwardContext& context, const MlaWeights& w, const LayerActivations& kept,
          Matrix normed)
      : context_(context), w_(w), kept_(kept), normed_(normed), q_(kept.q) {
    static thread_local kernels::Scratch c_q_scratch, q_scratch;
    const ops::MlaShape& s = context.shape;
    const int64_t tokens = normed.rows, width = s.num_heads * s.qk_head_dim();
    if (!w.q_proj.defined()) {
      const Matrix x = kept.c_q_unnormed;
      c_q_ = normed_again(kept.c_q, x, w.q_a_layernorm, kLatentNormEps,
                          c_q_scratch.get(x.rows * x.cols));
    }
    if (q_.data != nullptr) return;
    q_ = Matrix(q_scratch.get(tokens * width), tokens, width);
    if (w.q_proj.defined()) {
      ops::linear(normed, w.q_proj, q_, kFast);
    } else {
      ops::linear(c_q_, w.q_b_proj, q_, kFast);
    }
    ops::rotate(context.rotary, context.config.rope_interleave, q_, s.num_heads, s.qk_head_dim(),
                s.qk_nope_head_dim);
  }

  Matrix rotated() const { return q_; }

  // Adds to d_normed.
  void backward(Matrix dq, Matrix d_normed, MlaWeights& gradient) const {
    static thread_local kernels::Scratch scratch;
    const ops::MlaShape& s = context_.shape;
    ops::rotate(context_.rotary_back, context_.config.rope_interleave, dq, s.num_heads,
                s.qk_head_dim(), s.qk_nope_head_dim);
    if (w_.q_proj.defined()) {
      return ops::linear_backward(normed_, w_.q_proj, dq, true, d_normed, gradient.q_proj);
    }
    const Matrix d_c_q(scratch.get(c_q_.rows * c_q_.cols), c_q_.rows, c_q_.cols);
    ops::linear_backward(c_q_, w_.q_b_proj, dq, false, d_c_q, gradient.q_b_proj);
    ops::rms_norm_backward(kept_.c_q_unnormed, w_.q_a_layernorm, kLatentNormEps, d_c_q, false,
                           d_c_q, gradient.q_a_layernorm);
    ops::linear_backward(normed_, w_.q_a_proj, d_c_q, true, d_normed, gradient.q_a_proj);
  }

 private:
  const BackwardContext& context_;
  const MlaWeights& w_;
  const LayerActivations& kept_;
  Matrix normed_, c_q_, q_;
};

// d_normed = gradient of the attention's input, from dy, that of its output.
void latent_attention_backward(const BackwardContext& context, const MlaWeights& w,
                               const LayerActivations& kept, Matrix normed, Matrix dy,
                               Matrix d_normed, MlaWeights& gradient) {
  static thread_local kernels::Scratch scratch;
  const ops::MlaShape& s = context.shape;
  const int64_t tokens = normed.rows, heads_width = s.num_heads * s.v_head_dim;
  const Queries queries(context, w, kept, normed);
  const int64_t q_width = queries.rotated().cols;
  const Matrix d_heads(scratch.get(tokens * (heads_width + q_width + s.cache_width())), tokens,
                       heads_width);
  const Matrix dq(d_heads.data + tokens * heads_width, tokens, q_width);
  const Matrix dkv(dq.data + tokens * q_width, tokens, s.cache_width());

  ops::linear_backward(kept.heads, w.o_proj, dy, false, d_heads, gradient.o_proj);
  std::vector<ops::MlaSequence> sequences;
  int64_t row = 0;
  for (size_t i = 0; i < context.sequences.size(); ++i) {
    const BatchSequence& b = context.sequences[i];
    sequences.push_back({.n_keys = b.n_tokens,
                         .first_row = row,
                         .n_queries = b.n_tokens,
                         .visible = b.visible,
                         .log_sum_exp = kept.log_sum_exp[i]});
    row += b.n_tokens;
  }
  ops::mla_attention_backward(s, queries.rotated(), kept.kv, w.kv_up.kv_b_proj, sequences,
                              kept.heads, d_heads, dq, dkv, gradient.kv_up.kv_b_proj);

  ops::rotate(context.rotary_back, context.config.rope_interleave, dkv, 1, 0, s.kv_lora_rank);
  const Matrix d_c_kv = dkv.columns(0, s.kv_lora_rank);
  ops::rms_norm_backward(kept.c_kv_unnormed, w.kv_a_layernorm, kLatentNormEps, d_c_kv, false,
                         d_c_kv, gradient.kv_a_layernorm);
  ops::linear_backward(normed, w.kv_a_proj_with_mqa, dkv, false, d_normed,
                       gradient.kv_a_proj_with_mqa);
  queries.backward(dq, d_normed, gradient);
}

// d_normed = gradient of the experts' and the router's input. Returns the balance loss.
double moe_backward(const BackwardContext& context, const MoeWeights& w,
                    const LayerActivations& kept, Matrix normed, Matrix dy, Matrix d_normed,
                    MoeWeights& gradient) {
  static thread_local std::vector<float> d_weights;
  const DeepseekV3Config& c = context.config;
  const bool shared = c.n_shared_experts > 0;
  d_weights.resize(kept.routing.weights.size());
  ops::mixture_of_experts_backward(normed, kept.routing, c.num_experts_per_tok, w.experts,
                                   shared ? &w.shared_experts : nullptr, dy, kept.experts, d_normed,
                                   d_weights, gradient.experts,
                                   shared ? &gradient.shared_experts : nullptr);
  return ops::route_tokens_backward(normed, w.gate, routing_rule(c), kept.router_logits,
                                    kept.routing, d_weights, context.balance, d_normed,
                                    gradient.gate);
}

// decoder_layer backwards: dx is the gradient of the layer's output and becomes that of its input.
double decoder_layer_backward(const BackwardContext& context, const LayerWeights& w, int64_t layer,
                              const LayerActivations& kept, Matrix dx, LayerWeights& gradient) {
  static thread_local kernels::Scratch scratch;
  const int64_t size = dx.rows * dx.cols;
  float* memory = scratch.get(2 * size);
  const Matrix d_normed(memory + size, dx.rows, dx.cols);
  double balance_loss = 0;

  Matrix normed = normed_again(kept.middle_normed, kept.middle, w.post_attention_layernorm,
                               context.eps, memory);
  if (context.config.is_moe_layer(layer)) {
    balance_loss = moe_backward(context, w.moe, kept, normed, dx, d_normed, gradient.moe);
  } else {
    ops::mlp_backward(normed, w.mlp, dx, kept.experts.shared, d_normed, gradient.mlp);
  }
  ops::rms_norm_backward(kept.middle, w.post_attention_layernorm, context.eps, d_normed, true, dx,
                         gradient.post_attention_layernorm);

  normed = normed_again(kept.normed, kept.input, w.input_layernorm, context.eps, memory);
  latent_attention_backward(context, w.self_attn, kept, normed, dx, d_normed, gradient.self_attn);
  ops::rms_norm_backward(kept.input, w.input_layernorm, context.eps, d_normed, true, dx,
                         gradient.input_layernorm);
  return balance_loss;
}

// The sum of f(begin, end, x, logits) over parts of the rows x of `hidden` whose logits are kept at
// a size that memory has.
template <class F>
double for_logits(const ops::LinearWeight& head, Matrix hidden, F&& f) {
  static thread_local kernels::Scratch scratch;
  constexpr int64_t kFloats = int64_t{4} << 20;
  const int64_t vocab = head.out_features(), step = std::max<int64_t>(64, kFloats / vocab);
  double sum = 0;
  for (int64_t begin = 0; begin < hidden.rows; begin += step) {
    const int64_t end = std::min(hidden.rows, begin + step);
    const Matrix x = hidden.row_range(begin, end);
    const Matrix logits(scratch.get(x.rows * vocab), x.rows, vocab);
    ops::linear(x, head, logits, kFast);
    sum += f(begin, end, x, logits);
  }
  return sum;
}

}  // namespace

double backward(const DeepseekV3Config& config, const ModelWeights& weights,
                std::span<const BatchSequence> sequences, Activations& kept, Matrix dx,
                double balance_token_weight, ModelWeights& gradients) {
  const BackwardContext context(config, sequences, kept, balance_token_weight);
  ops::rms_norm_backward(kept.last, weights.norm, context.eps, dx, false, dx, gradients.norm);
  double balance_loss = 0;
  for (int64_t layer = config.num_hidden_layers - 1; layer >= 0; --layer) {
    balance_loss += decoder_layer_backward(context, weights.layers[layer], layer,
                                           kept.layers[layer], dx, gradients.layers[layer]);
  }
  return balance_loss;
}

double backward_mtp(const DeepseekV3Config& config, const MtpWeights& module, int64_t module_index,
                    std::span<const BatchSequence> sequences, Activations& kept, Matrix dx,
                    Matrix d_previous, double balance_token_weight, MtpWeights& gradient) {
  static thread_local kernels::Scratch scratch;
  const BackwardContext context(config, sequences, kept, balance_token_weight);
  const int64_t hidden = dx.cols;
  ops::rms_norm_backward(kept.last, module.shared_head_norm, context.eps, dx, false, dx,
                         gradient.shared_head_norm);
  const double balance_loss =
      decoder_layer_backward(context, module.layer, config.num_hidden_layers + module_index,
                             kept.layers.front(), dx, gradient.layer);
  const Matrix d_both(scratch.get(dx.rows * 2 * hidden), dx.rows, 2 * hidden);
  ops::linear_backward(kept.both, module.eh_proj, dx, false, d_both, gradient.eh_proj);
  ops::rms_norm_backward(kept.embeddings, module.enorm, context.eps, d_both.columns(0, hidden),
                         false, dx, gradient.enorm);
  ops::rms_norm_backward(kept.previous, module.hnorm, context.eps, d_both.columns(hidden, hidden),
                         false, d_previous, gradient.hnorm);
  return balance_loss;
}

double lm_head_backward(const ops::LinearWeight& head, Matrix hidden,
                        std::span<const int64_t> labels, float factor, Matrix d_hidden,
                        ops::LinearWeight& gradient) {
  return for_logits(head, hidden, [&](int64_t begin, int64_t end, Matrix x, Matrix logits) {
    const double loss =
        ops::cross_entropy_backward(logits, labels.subspan(begin, end - begin), factor);
    ops::linear_backward(x, head, logits, true, d_hidden.row_range(begin, end), gradient);
    return loss;
  });
}

double lm_head_loss(const ops::LinearWeight& head, Matrix hidden, std::span<const int64_t> labels) {
  return for_logits(head, hidden, [&](int64_t begin, int64_t end, Matrix, Matrix logits) {
    return ops::cross_entropy_sum(logits, labels.subspan(begin, end - begin));
  });
}

}  // namespace dsv3::model
