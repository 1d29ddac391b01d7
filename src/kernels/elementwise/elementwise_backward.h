#pragma once

#include <cstdint>

namespace dsv3::kernels {

// Gradients of the row-wise kernels; dx is the gradient of x. Single-threaded, fixed order of sums.

/// Of y = rms_norm(x): adds to dx[n] if `accumulate`, else writes it (dx may be dy then); adds to
/// dweight[n].
void rms_norm_backward(const float* x, const float* weight, float eps, const float* dy, int64_t n,
                       bool accumulate, float* dx, float* dweight);

/// Of scale * swiglu(gate, up), with dy the gradient of what `scale` multiplies after it (of the
/// whole, not yet multiplied by `scale`). Writes y = swiglu(gate, up), overwrites gate and up with
/// their gradients and returns the gradient of `scale`, sum(y * dy).
float swiglu_backward(float* gate, float* up, const float* dy, float scale, int64_t n, float* y);

/// Softmax weights and the gradients of the scores of one query, for its first n keys. In: scores
/// s[n] before scaling, dp[n] the gradients of the weights, the query's log_sum_exp of scaled
/// scores and delta = sum(p * dp) over all keys. Out: s[j] = p[j] = exp(scale * s[j] -
/// log_sum_exp), dp[j] = scale * p[j] * (dp[j] - delta).
void attention_weights_backward(float* s, float* dp, float scale, float log_sum_exp, float delta,
                                int64_t n);

/// Cross-entropy of one row of logits with a label: returns -log softmax(x)[label] and overwrites x
/// with `factor` times its gradient, softmax(x) - one_hot(label).
float cross_entropy_backward(float* x, int64_t n, int64_t label, float factor);
/// -log softmax(x)[label].
float cross_entropy_row(const float* x, int64_t n, int64_t label);

/// sum(x * y).
float dot(const float* x, const float* y, int64_t n);

/// What AdamW does to n parameters (torch.optim.AdamW): m and v are the moments.
/// `gradient_scale` is the factor of clipping; step_size = lr / (1 - beta1^t), and
/// v_correction = 1 / sqrt(1 - beta2^t). w -= lr_decay * w; then the step.
struct AdamWStep {
  float gradient_scale = 1;
  float beta1 = 0, beta2 = 0, eps = 0;
  float step_size = 0;
  float v_correction = 1;
  float lr_decay = 0;
};
/// If bf16 is not null, it receives the new parameters rounded to bfloat16.
void adamw(const AdamWStep& step, int64_t n, const float* gradient, float* w, float* m, float* v,
           uint16_t* bf16);

/// sum(x^2), in double.
double sum_of_squares(const float* x, int64_t n);

}  // namespace dsv3::kernels
