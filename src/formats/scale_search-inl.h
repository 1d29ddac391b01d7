// What the searches share: 256 elements laid out for vectors whose lanes are groups, their weights,
// and rounding to codes. Included once per instruction set (see base/simd.h).
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "formats/half.h"
#include "formats/iq4_nl.h"
#include "formats/scale_search.h"

#if defined(DSV3_FORMATS_SCALE_SEARCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DSV3_FORMATS_SCALE_SEARCH_INL_H_
#undef DSV3_FORMATS_SCALE_SEARCH_INL_H_
#else
#define DSV3_FORMATS_SCALE_SEARCH_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::formats {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A lane is a group. kGroups is a multiple of the lanes, so vectors are full.
template <int kGroups>
using Lanes = hn::CappedTag<float, kGroups>;

// Below this magnitude everything rounds to zero in every format: the smallest float16 is 2^-24,
// the largest code times scale 2^12.
constexpr float kNothing = 0x1p-60f;

// Element e of group g is at [e * kGroups + g], in multiples of unit[g], a power of two near the
// largest magnitude of the elements that share a float16.
template <int kGroups>
struct Tile {
  static constexpr int kElements = kSearchElements / kGroups;
  HWY_ALIGN float x[kSearchElements];
  HWY_ALIGN float weight[kSearchElements];
  float unit[kGroups];

  template <class V>
  HWY_INLINE V x_at(int e, int lane, V) const {
    return hn::Load(Lanes<kGroups>(), x + e * kGroups + lane);
  }
};

inline float largest_magnitude(const float* x, int n) {
  uint32_t bits = 0;
  for (int i = 0; i < n; ++i) {
    bits = std::max(bits, std::bit_cast<uint32_t>(x[i]) & 0x7FFFFFFF);
  }
  return std::bit_cast<float>(bits);
}

// The power of two at or below x; 1 for (almost) nothing, which is encoded as zero.
inline float power_of_two(float x) {
  return x < kNothing ? 1.0f : std::bit_cast<float>(std::bit_cast<uint32_t>(x) & 0x7F800000);
}

// Fills a tile from `groups` groups (the others become zeros); all of them share a unit, or each
// has its own. Weights are
//
//     without importance:  half the root mean square of the group + |x|
//     with importance:     importance * sqrt(2 * mean square of what shares a unit + x^2)
//
// so that large weights, which do more, count for more. ggml weights its formats in such ways; its
// Q4_K has the whole root mean square, others have x^2 alone.
template <int kGroups>
void load_tile(const float* x, const float* importance, int groups, bool share_unit,
               Tile<kGroups>* tile) {
  constexpr int kElements = Tile<kGroups>::kElements;
  const Lanes<kGroups> d;
  const auto lanes = static_cast<int>(hn::Lanes(d));
  const int n = groups * kElements;
  const float shared = power_of_two(largest_magnitude(x, n));
  for (int g = 0; g < kGroups; ++g) {
    float unit = shared;
    if (!share_unit && g < groups) {
      unit = power_of_two(largest_magnitude(x + g * kElements, kElements));
    }
    tile->unit[g] = unit;
    const float inverse = 1.0f / unit;
    for (int e = 0; e < kElements; ++e) {
      tile->x[e * kGroups + g] = g < groups ? x[g * kElements + e] * inverse : 0.0f;
    }
  }
  HWY_ALIGN float square[kGroups];  // mean square
  for (int g = 0; g < kGroups; g += lanes) {
    auto sum = hn::Zero(d);
    for (int e = 0; e < kElements; ++e) {
      const auto v = hn::Load(d, tile->x + e * kGroups + g);
      sum = hn::Add(sum, hn::Mul(v, v));
    }
    hn::Store(hn::Mul(sum, hn::Set(d, 1.0f / kElements)), d, square + g);
  }
  if (importance == nullptr) {
    for (int g = 0; g < kGroups; g += lanes) {
      const auto half_rms = hn::Mul(hn::Set(d, 0.5f), hn::Sqrt(hn::Load(d, square + g)));
      for (int e = 0; e < kElements; ++e) {
        const int at = e * kGroups + g;
        hn::Store(hn::Add(half_rms, hn::Abs(hn::Load(d, tile->x + at))), d, tile->weight + at);
      }
    }
    return;
  }

  // Importances relative to their mean; those of (almost) nothing count a little, so that there is
  // something to fit even if all are zero.
  float mean = 0;
  for (int i = 0; i < n; ++i) mean += importance[i] * (1.0f / kSearchElements);
  const float inverse_mean = mean > 0 ? 1.0f / mean : 0.0f;
  for (int g = 0; g < kGroups; ++g) {
    for (int e = 0; e < kElements; ++e) {
      const float v = g < groups ? importance[g * kElements + e] * inverse_mean : 0.0f;
      tile->weight[e * kGroups + g] = v > 1e-4f ? v : 1e-4f;
    }
  }
  if (share_unit) {
    float sum = 0;
    for (const float s : square) sum += s;
    std::fill(square, square + kGroups, sum / kGroups);
  }
  for (int g = 0; g < kGroups; g += lanes) {
    const auto twice = hn::Mul(hn::Set(d, 2.0f), hn::Load(d, square + g));
    for (int e = 0; e < kElements; ++e) {
      const int at = e * kGroups + g;
      const auto v = hn::Load(d, tile->x + at);
      const auto factor = hn::Sqrt(hn::Add(twice, hn::Mul(v, v)));
      hn::Store(hn::Mul(hn::Load(d, tile->weight + at), factor), d, tile->weight + at);
    }
  }
}

// Rounds to the values of codes. `code` gives the code of a rounded value.
struct Integers {
  float lowest;
  float highest;

  template <class D, class V = hn::Vec<D>>
  HWY_INLINE V round(D d, V v) const {
    return hn::Min(hn::Max(hn::Round(v), hn::Set(d, lowest)), hn::Set(d, highest));
  }
  HWY_INLINE uint8_t code(float rounded) const {
    return static_cast<uint8_t>(static_cast<int>(rounded) - static_cast<int>(lowest));
  }
};

struct Iq4 {
  template <class D, class V = hn::Vec<D>>
  HWY_INLINE V round(D d, V v) const {
    V rounded = hn::Set(d, kIq4Values[0]);
    for (int i = 0; i < 15; ++i) {
      const float low = kIq4Values[i];
      const float high = kIq4Values[i + 1];
      const auto above = hn::Ge(v, hn::Set(d, (low + high) * 0.5f));
      rounded = hn::IfThenElse(above, hn::Set(d, high), rounded);
    }
    return rounded;
  }
  HWY_INLINE uint8_t code(float rounded) const {
    int code = 0;
    while (code < 15 && static_cast<float>(kIq4Values[code]) < rounded) ++code;
    return static_cast<uint8_t>(code);
  }
};

template <class D, class V = hn::Vec<D>>
HWY_INLINE V inverse_or_zero(D d, V v) {
  return hn::IfThenZeroElse(hn::Eq(v, hn::Zero(d)), hn::Div(hn::Set(d, 1.0f), v));
}

// The nearest float16 that is finite.
inline uint16_t finite_f16(float x) {
  const uint16_t bits = float_to_f16(x);
  return static_cast<uint16_t>((bits & 0x7C00) == 0x7C00 ? bits - 1 : bits);
}

// The float16 for a scale in multiples of `unit`, and what it stands for, in the same multiples.
// Subnormal ones are rounded away from zero: the integers that are multiplied with it can be
// smaller, but not larger.
struct RoundedScale {
  Half half{};
  float value = 0;
  bool subnormal = false;  // and not zero
};
inline RoundedScale round_scale(float scale, float unit) {
  const float wanted = scale * unit;
  uint16_t bits = finite_f16(wanted);
  const bool subnormal = (bits & 0x7C00) == 0;
  if (subnormal && std::fabs(f16_to_float(bits)) < std::fabs(wanted)) ++bits;
  const Half half = Half::from_bits(bits);
  return {half, half.value() / unit, subnormal && half.value() != 0};
}

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::formats
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
