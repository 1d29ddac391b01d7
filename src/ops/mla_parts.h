#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention/attention.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/gemm/gemm.h"
#include "ops/mla_attention.h"

// What the two forms of latent attention share; for mla_absorbed.cc and mla_expanded.cc.
namespace dsv3::ops {

using kernels::kLanes;

/// In which numbers attention over a cache is computed.
enum class Arithmetic : uint8_t {
  kFloat32,
  kBFloat16,  ///< queries, keys, values and softmax weights in bf16, sums in float32
  kInt8,      ///< queries, keys and values in 8 bits, softmax weights in 16 (absorbed form only)
};

inline LatentLayout layout_of(const MlaShape& shape, DType dtype) {
  return {.dtype = dtype, .rank = shape.kv_lora_rank, .rope = shape.qk_rope_head_dim};
}

inline Arithmetic arithmetic(const MlaShape& shape, const MlaSequence& s) {
  if (shape.precise || s.dtype == DType::kF32 || !kernels::has_attention_bf16())
    return Arithmetic::kFloat32;
  const bool codes = s.dtype == DType::kI8 && kernels::has_attention_i8(layout_of(shape, s.dtype));
  return codes ? Arithmetic::kInt8 : Arithmetic::kBFloat16;
}

inline int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/// Keys are taken in splits, each with an online softmax of its own; splits are then merged in
/// order. A decode step with a long context is spread over the threads by splits. Where they begin
/// depends on nothing but the position, so that results do not depend on the batch; far out they
/// are longer, since there are enough of them.
inline constexpr int64_t kSplitTokens = 8 * kPageTokens;
inline constexpr int64_t kLongSplitsFrom = 64 * kSplitTokens;
inline constexpr int64_t kLongSplitTokens = 4 * kSplitTokens;

inline int64_t split_begin(int64_t i) {
  const int64_t short_splits = kLongSplitsFrom / kSplitTokens;
  return i <= short_splits ? i * kSplitTokens
                           : kLongSplitsFrom + (i - short_splits) * kLongSplitTokens;
}
/// Splits that hold n keys.
inline int64_t split_count(int64_t n) {
  if (n <= kLongSplitsFrom) return (n + kSplitTokens - 1) / kSplitTokens;
  return kLongSplitsFrom / kSplitTokens +
         (n - kLongSplitsFrom + kLongSplitTokens - 1) / kLongSplitTokens;
}

/// Running softmax of rows, a multiple of kLanes of them: maximum, sum, and weighted sums of
/// `width` channels (a multiple of kernels::kPanel) in panels.
struct Running {
  float* maximum;
  float* sum;
  float* correction;  ///< of the last tile
  float* values;
  int64_t width;

  static int64_t floats(int64_t rows, int64_t width) { return rows * (width + 3); }
  Running(float* memory, int64_t rows, int64_t w)
      : maximum(memory),
        sum(memory + rows),
        correction(memory + 2 * rows),
        values(memory + 3 * rows),
        width(w) {}

  float* group_values(int64_t row) const { return values + row * width; }
  void clear(int64_t rows) const {
    std::fill_n(maximum, rows, -std::numeric_limits<float>::infinity());
    std::fill_n(sum, rows, 0.0f);
    std::fill_n(values, rows * width, 0.0f);
  }
  /// Adds the rows of `other`, as if its keys came after those seen so far.
  void merge(int64_t rows, const Running& other) const {
    for (int64_t r = 0; r < rows; r += kLanes) {
      kernels::merge_lanes(other.maximum + r, other.sum + r, other.group_values(r), width,
                           maximum + r, sum + r, group_values(r));
    }
  }
  /// The attention output of row r to out[n]; a row that saw no key gives zeros.
  void finish(int64_t r, int64_t n, float* out) const {
    finish_row(group_values(r / kLanes * kLanes), r % kLanes, sum[r], n, out);
  }
  /// The same of a row whose sum and panels are elsewhere.
  static void finish_row(const float* panels, int64_t lane, float sum, int64_t n, float* out) {
    const float factor = sum == 0 ? 0.0f : 1.0f / sum;
    const float* panel = panels + lane * kernels::kPanel;
    for (int64_t c = 0; c < n; c += kernels::kPanel, panel += kLanes * kernels::kPanel) {
      const int64_t count = std::min(kernels::kPanel, n - c);
      for (int64_t i = 0; i < count; ++i) out[c + i] = panel[i] * factor;
    }
  }
};

/// Turns recorded scores of a query and head into softmax weights.
inline void finish_attentions(float* scores, int64_t n, float maximum, float sum) {
  for (int64_t j = 0; j < n; ++j) scores[j] = sum == 0 ? 0.0f : std::exp(scores[j] - maximum) / sum;
}

/// C[i, n] = sum_k A[i, k] * W[n, k]. `fast`: few rows of A are rounded to 8 bits if W is in a
/// block format, as in products with other weights.
void head_product(bool fast, int64_t m, const kernels::ActivationRows& a,
                  const kernels::WeightView& w, float* c, int64_t ldc);

/// The weights of one head.
class HeadUpProjection {
 public:
  HeadUpProjection(const MlaShape& shape, const LatentUpProjection& up, int64_t head)
      : nope_(shape.qk_nope_head_dim), split_(up.is_split()), fast_(!shape.precise) {
    const int64_t rank = shape.kv_lora_rank, v_dim = shape.v_head_dim;
    if (split_) {
      w_uk_ = up.k_b_proj.view().slice_rows(head * rank, (head + 1) * rank);
      w_uv_ = up.v_b_proj.view().slice_rows(head * v_dim, (head + 1) * v_dim);
    } else {
      const int64_t begin = head * shape.kv_head_rows();
      both_ = up.kv_b_proj.view().slice_rows(begin, begin + shape.kv_head_rows());
      w_uk_ = both_.slice_rows(0, nope_);
      w_uv_ = both_.slice_rows(nope_, shape.kv_head_rows());
    }
  }

  /// Queries [m, qk_nope_head_dim] taken into the latent space: out [m, kv_lora_rank].
  void absorb(int64_t m, const kernels::ActivationRows& q_nope, float* out, int64_t ldc) const {
    if (split_) {
      head_product(fast_, m, q_nope, w_uk_, out, ldc);
    } else {
      kernels::gemm_nn(m, q_nope, w_uk_, out, ldc, false);
    }
  }
  /// Weighted sums of latents [m, kv_lora_rank] to values: out [m, v_head_dim].
  void values(int64_t m, const kernels::ActivationRows& latents, float* out, int64_t ldc) const {
    head_product(fast_, m, latents, w_uv_, out, ldc);
  }
  /// Latents [m, kv_lora_rank] to k_nope and v beside each other: out [m, kv_head_rows].
  void expand(int64_t m, const kernels::ActivationRows& latents, float* out, int64_t ldc) const {
    if (split_) {
      kernels::gemm_nn(m, latents, w_uk_, out, ldc, false);
      kernels::gemm_nt(m, latents, w_uv_, out + nope_, ldc);
    } else {
      kernels::gemm_nt(m, latents, both_, out, ldc);
    }
  }

  /// Both in float32: w_uk, element (channel, latent) at channel * uk_row + latent * uk_col, and
  /// w_uv [v_head_dim, kv_lora_rank]. `memory`: kv_head_rows * kv_lora_rank floats.
  struct Decoded {
    const float* w_uk;
    int64_t uk_row, uk_col;
    const float* w_uv;
  };
  Decoded decode(float* memory) const {
    const int64_t rank = w_uv_.cols;
    float* w_uv = memory + nope_ * rank;
    kernels::decode(w_uk_, memory, w_uk_.cols);
    kernels::decode(w_uv_, w_uv, rank);
    return split_ ? Decoded{memory, 1, nope_, w_uv} : Decoded{memory, rank, 1, w_uv};
  }

 private:
  int64_t nope_;
  bool split_, fast_;
  kernels::WeightView w_uk_, w_uv_, both_;
};

/// The two forms for sequences that are all computed that way. Weighted latents go to
/// `weighted_latents` if it has memory.
void absorbed_attention(const MlaShape& shape, Matrix q, const LatentUpProjection& up,
                        std::span<const MlaSequence> sequences, Matrix out,
                        Matrix weighted_latents);
void expanded_attention(const MlaShape& shape, Matrix q, const LatentUpProjection& up,
                        std::span<const MlaSequence> sequences, Matrix out);

}  // namespace dsv3::ops
