#include "ops/mla_attention.h"

#include <vector>

#include "kernels/packed/packed_rows.h"
#include "kernels/scratch.h"
#include "ops/mla_parts.h"

namespace dsv3::ops {

void mla_attention_absorbed(const MlaShape& shape, Matrix q, const LatentUpProjection& up,
                            std::span<const MlaSequence> sequences, Matrix out) {
  absorbed_attention(shape, q, up, sequences, out, {});
}

void mla_attention_expanded(const MlaShape& shape, Matrix q, const LatentUpProjection& up,
                            std::span<const MlaSequence> sequences, Matrix out) {
  expanded_attention(shape, q, up, sequences, out);
}

void head_product(bool fast, int64_t m, const kernels::ActivationRows& a,
                  const kernels::WeightView& w, float* c, int64_t ldc) {
  if (!fast || m > kernels::kFewRows || !is_block_format(w.format))
    return kernels::gemm_nt(m, a, w, c, ldc);
  constexpr auto kForm = kernels::RowForm::kInt8Rows;
  static thread_local kernels::Scratch scratch;
  void* packed = scratch.get_bytes(kernels::packed_bytes(kForm, m, w.cols));
  kernels::clear_padding(kForm, m, w.cols, packed);
  for (int64_t i = 0; i < m; ++i)
    kernels::pack_channels(kForm, w.cols, i, 0, w.cols, a.data + i * a.stride, packed);
  kernels::gemm_nt_packed(kForm, m, packed, nullptr, w, c, ldc);
}

bool absorbed_is_cheaper(const MlaShape& shape, int64_t n_queries, int64_t n_keys) {
  // Multiplications a head. Under the causal mask a query sees about n_keys - n_queries / 2 keys.
  const double pairs =
      static_cast<double>(n_queries) * (static_cast<double>(n_keys) - n_queries / 2.0);
  const double absorbed =
      pairs * static_cast<double>(shape.cache_width() + shape.kv_lora_rank) +
      static_cast<double>(n_queries * shape.kv_lora_rank * shape.kv_head_rows());
  const double expanded = pairs * static_cast<double>(shape.qk_head_dim() + shape.v_head_dim) +
                          static_cast<double>(n_keys * shape.kv_lora_rank * shape.kv_head_rows());
  return absorbed <= expanded;
}

void mla_attention(const MlaShape& shape, MlaForm form, Matrix q, const LatentUpProjection& up,
                   std::span<const MlaSequence> sequences, Matrix out, Matrix weighted_latents) {
  const bool wanted = weighted_latents.data != nullptr;
  static thread_local std::vector<MlaSequence> absorbed, expanded;
  absorbed.clear();
  expanded.clear();
  for (const MlaSequence& s : sequences) {
    const bool absorb =
        wanted || (s.log_sum_exp == nullptr &&
                   (form == MlaForm::kAbsorbed ||
                    (form == MlaForm::kAuto && absorbed_is_cheaper(shape, s.n_queries, s.n_keys))));
    (absorb ? absorbed : expanded).push_back(s);
  }
  if (!absorbed.empty()) absorbed_attention(shape, q, up, absorbed, out, weighted_latents);
  if (!expanded.empty()) mla_attention_expanded(shape, q, up, expanded, out);
}

}  // namespace dsv3::ops
