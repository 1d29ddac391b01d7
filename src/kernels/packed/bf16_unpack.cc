// Rows of block formats as bfloat16, with AVX-512.
#include <algorithm>

#include "base/error.h"
#include "kernels/packed/panel_products.h"
#include "kernels/simd_int8.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/packed/bf16_unpack.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "hwy/highway.h"
#include "kernels/int8/int8_unpack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_AVX3_DL

bool unpack_bf16_impl(const WeightView&, int64_t, uint16_t*) { return false; }

#else

// How far ahead of its use a row of weights is asked for.
constexpr int64_t kPrefetchBytes = 4096;

// In assembly, because Highway's target leaves this instruction out.
HWY_INLINE __m512i round_pair(__m512 low, __m512 high) {
  __m512i out;
  asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(out) : "v"(low), "v"(high));
  return out;
}

template <int lane>
HWY_INLINE __m512 broadcast(__m512 v) {
  return _mm512_permutexvar_ps(_mm512_set1_epi32(lane), v);
}

// Groups 2 g and 2 g + 1 of a chunk.
template <class Block, int g = 0>
HWY_INLINE void unpack_groups(const Block* b, __m512 scale, __m512 minimum, uint16_t* out) {
  if constexpr (g < 8) {
    using Format = Unpack<Block>;
    const VB32 codes = Format::template codes<g>(b).v[0];
    const __m128i halves[2] = {_mm256_castsi256_si128(codes.raw),
                               _mm256_extracti128_si256(codes.raw, 1)};
    __m512 x[2];
    for (int i = 0; i < 2; ++i) {
      const __m512i wide =
          Format::kSigned ? _mm512_cvtepi8_epi32(halves[i]) : _mm512_cvtepu8_epi32(halves[i]);
      x[i] = _mm512_cvtepi32_ps(wide);
    }
    constexpr bool kLess = Format::kHasMinimum || Format::kOffset != 0;
    const __m512 s0 = broadcast<2 * g>(scale), s1 = broadcast<2 * g + 1>(scale);
    if constexpr (kLess) {
      x[0] = _mm512_fmsub_ps(x[0], s0, broadcast<2 * g>(minimum));
      x[1] = _mm512_fmsub_ps(x[1], s1, broadcast<2 * g + 1>(minimum));
    } else {
      x[0] = _mm512_mul_ps(x[0], s0);
      x[1] = _mm512_mul_ps(x[1], s1);
    }
    _mm512_storeu_si512(out + 32 * g, round_pair(x[0], x[1]));
    unpack_groups<Block, g + 1>(b, scale, minimum, out);
  }
}

template <class Block>
HWY_INLINE void unpack_chunk(const Block* b, uint16_t* out) {
  using Format = Unpack<Block>;
  Scales scale, minimum;
  Format::scales(b, scale, minimum);
  if constexpr (Format::kOffset != 0) {
    minimum.v[0] = hn::Mul(scale.v[0], hn::Set(F(), static_cast<float>(Format::kOffset)));
  }
  const __m512 less =
      Format::kHasMinimum || Format::kOffset != 0 ? minimum.v[0].raw : _mm512_setzero_ps();
  unpack_groups<Block>(b, scale.v[0].raw, less, out);
}

template <class Block>
void unpack_rows(const WeightView& w, int64_t stride, uint16_t* out) {
  const auto* end = static_cast<const char*>(w.row(w.rows));
  for (int64_t r = 0; r < w.rows; ++r) {
    uint16_t* to = out + r * stride;
    const auto unpack = [&](const Block* b, int64_t chunk) HWY_ATTR {
      if (256 * (chunk + 1) <= w.cols) return unpack_chunk(b, to + 256 * chunk);
      uint16_t values[256];
      unpack_chunk(b, values);
      std::copy_n(values, w.cols - 256 * chunk, to + 256 * chunk);
    };
    for_each_chunk(static_cast<const Block*>(w.row(r)), w.cols, kPrefetchBytes, end, unpack);
  }
}

bool unpack_bf16_impl(const WeightView& w, int64_t stride, uint16_t* out) {
  return with_block(w.format,
                    [&](auto block) HWY_ATTR { unpack_rows<decltype(block)>(w, stride, out); });
}

#endif  // HWY_AVX3_DL

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dsv3::kernels {

HWY_EXPORT(unpack_bf16_impl);

bool unpack_bf16(const WeightView& w, int64_t stride, uint16_t* out) {
  return HWY_DYNAMIC_DISPATCH(unpack_bf16_impl)(w, stride, out);
}

}  // namespace dsv3::kernels
#endif  // HWY_ONCE
