#pragma once

#include <cstdint>

namespace dsv3::kernels {

// Row-wise float32 kernels; single-threaded. The order of every sum is fixed.

/// y[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i]; y may be x. Source: DeepseekV3RMSNorm.
void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* y);
/// y[i] = silu(gate[i]) * up[i]; y may be gate or up.
void swiglu(const float* gate, const float* up, int64_t n, float* y);
/// y[i] += x[i].
void add(const float* x, int64_t n, float* y);
/// y[i] += a * x[i], fused.
void axpy(float a, const float* x, int64_t n, float* y);
/// y[i] *= a.
void scale(float a, int64_t n, float* y);

/// Rotates the pairs of a head's rotary channels in place: pair i by the angle whose cosine and
/// sine are cos[i] and sin[i]. Interleaved: pair i is channels (2i, 2i+1); otherwise (i, i +
/// pairs). Source: apply_rotary_pos_emb_interleave, apply_rotary_pos_emb.
void rope(const float* cos, const float* sin, int64_t pairs, bool interleaved, float* x);

/// One tile of an online softmax: p[j] = exp(s[j] - m'), m' = max(*m, max s), in place. Updates the
/// running maximum *m and sum *l, and returns exp(m - m'), by which what was accumulated so far has
/// to be multiplied. s[j] = -infinity is a masked key and gives 0; a tile of only such keys changes
/// nothing. NaN makes *l NaN, also in a tile of nothing else.
float softmax_tile(float* s, int64_t n, float* m, float* l);

/// Quantises a row as FP8 inference with dynamic activation scales does, and back: for each group
/// of `group` channels (the last may be shorter) scale = max|x| / 448 and y = e4m3(x / scale) *
/// scale. `power_of_two` rounds scales up to a power of two (scale_fmt ue8m0). codes and scales may
/// be null. y may be x. Source: act_quant of DeepSeek's kernel.py.
void quantize_dequantize_e4m3(const float* x, int64_t n, int64_t group, bool power_of_two, float* y,
                              uint8_t* codes, float* scales);

// Definitions: plain loops in double.
void rms_norm_ref(const float* x, const float* weight, float eps, int64_t n, float* y);
void swiglu_ref(const float* gate, const float* up, int64_t n, float* y);
void rope_ref(const float* cos, const float* sin, int64_t pairs, bool interleaved, float* x);
float softmax_tile_ref(float* s, int64_t n, float* m, float* l);

}  // namespace dsv3::kernels
