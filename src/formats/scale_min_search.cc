#include "base/simd.h"
#include "formats/scale_search.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "formats/scale_min_search.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "formats/scale_search-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::formats {
namespace HWY_NAMESPACE {

// x is near scale * q + offset. In the formats with integer minima the offset is never positive.
template <class V>
struct Line {
  V scale;
  V offset;
  V gain;  // what the line takes off the sum of weighted squares
};

// Sums over the elements of each group that do not depend on codes.
template <class V>
struct Moments {
  V w;
  V x;  // weighted
  V low;
  V high;
};

template <int kGroups, class V = hn::Vec<Lanes<kGroups>>>
HWY_INLINE Moments<V> moments(const Tile<kGroups>& tile, int lane) {
  const Lanes<kGroups> d;
  Moments<V> m{hn::Zero(d), hn::Zero(d), hn::Load(d, tile.x + lane), hn::Load(d, tile.x + lane)};
  for (int e = 0; e < Tile<kGroups>::kElements; ++e) {
    const V x = hn::Load(d, tile.x + e * kGroups + lane);
    const V w = hn::Load(d, tile.weight + e * kGroups + lane);
    m.w = hn::Add(m.w, w);
    m.x = hn::Add(m.x, hn::Mul(w, x));
    m.low = hn::Min(m.low, x);
    m.high = hn::Max(m.high, x);
  }
  return m;
}

template <class V>
struct CodeSums {
  // Written out, since a compiler's own would not be compiled for the vectors' instruction set.
  HWY_INLINE CodeSums() {}
  HWY_INLINE CodeSums(V q_, V qq_, V xq_) : q(q_), qq(qq_), xq(xq_) {}
  V q;  // all weighted
  V qq;
  V xq;
};

// Sums over the codes that (x - offset) * inverse rounds to.
template <int kGroups, class V>
HWY_INLINE CodeSums<V> code_sums(const Tile<kGroups>& tile, int lane, V inverse, V offset,
                                 float highest) {
  const Lanes<kGroups> d;
  const Integers values{0, highest};
  CodeSums<V> s(hn::Zero(d), hn::Zero(d), hn::Zero(d));
  for (int e = 0; e < Tile<kGroups>::kElements; ++e) {
    const V x = hn::Load(d, tile.x + e * kGroups + lane);
    const V w = hn::Load(d, tile.weight + e * kGroups + lane);
    const V q = values.round(d, hn::Mul(hn::Sub(x, offset), inverse));
    const V wq = hn::Mul(w, q);
    s.q = hn::Add(s.q, wq);
    s.qq = hn::Add(s.qq, hn::Mul(wq, q));
    s.xq = hn::Add(s.xq, hn::Mul(wq, x));
  }
  return s;
}

// Least squares for given codes.
template <class D, class V = hn::Vec<D>>
HWY_INLINE Line<V> fit(D d, const Moments<V>& m, const CodeSums<V>& s, bool signed_offset) {
  const V zero = hn::Zero(d);
  const V determinant = hn::Sub(hn::Mul(m.w, s.qq), hn::Mul(s.q, s.q));
  // Of (almost) equal codes nothing but rounding is left.
  const auto sound = hn::Gt(determinant, hn::Mul(hn::Set(d, 1e-5f), hn::Mul(m.w, s.qq)));
  const V inverse = hn::IfThenElseZero(sound, hn::Div(hn::Set(d, 1.0f), determinant));
  V scale = hn::Mul(hn::Sub(hn::Mul(m.w, s.xq), hn::Mul(m.x, s.q)), inverse);
  V offset = hn::Mul(hn::Sub(hn::Mul(s.qq, m.x), hn::Mul(s.q, s.xq)), inverse);
  if (!signed_offset) {
    const auto through_zero = hn::Or(hn::Gt(offset, zero), hn::Not(sound));
    scale = hn::IfThenElse(through_zero, hn::Mul(s.xq, inverse_or_zero(d, s.qq)), scale);
    offset = hn::IfThenElse(through_zero, zero, offset);
  }
  return {scale, offset, hn::Add(hn::Mul(scale, s.xq), hn::Mul(offset, m.x))};
}

// How far beyond the lowest and the highest code the least and the greatest element are tried, by
// measured errors.
constexpr float kBeyond[] = {-0.6f, -0.1f, 0.4f, 0.9f};
constexpr float kBeyond2Bits[] = {-0.4f, 0.0f, 0.4f, 0.8f};
constexpr int kRefinements = 2;

// The best line of each group, with the sums of its codes.
template <int kGroups, class V = hn::Vec<Lanes<kGroups>>>
HWY_INLINE Line<V> search_line(const Tile<kGroups>& tile, int lane, const Moments<V>& m,
                               float highest, bool signed_offset, CodeSums<V>* sums) {
  const Lanes<kGroups> d;
  const V zero = hn::Zero(d);
  const V low = signed_offset ? m.low : hn::Min(m.low, zero);
  const V range = hn::Max(hn::Sub(m.high, low), zero);
  const V inverse_range = inverse_or_zero(d, range);
  // No scale, only an offset.
  V flat = hn::Mul(m.x, inverse_or_zero(d, m.w));
  if (!signed_offset) flat = hn::Min(flat, zero);
  Line<V> best{zero, flat, hn::Mul(flat, m.x)};
  *sums = {zero, zero, zero};
  const auto keep_better = [&](const Line<V>& line, const CodeSums<V>& s) HWY_ATTR {
    const auto better = hn::And(hn::Gt(line.gain, best.gain), hn::Gt(line.scale, zero));
    best.scale = hn::IfThenElse(better, line.scale, best.scale);
    best.offset = hn::IfThenElse(better, line.offset, best.offset);
    best.gain = hn::IfThenElse(better, line.gain, best.gain);
    sums->q = hn::IfThenElse(better, s.q, sums->q);
    sums->qq = hn::IfThenElse(better, s.qq, sums->qq);
    sums->xq = hn::IfThenElse(better, s.xq, sums->xq);
  };
  // The least element is tried at codes near 0, the greatest near the highest one, also beyond:
  // then they are clipped for the sake of the others.
  const auto& beyond = highest > 3 ? kBeyond : kBeyond2Bits;
  for (const float below : beyond) {
    for (const float above : beyond) {
      const V steps = hn::Set(d, highest + below + above);
      const V inverse = hn::Mul(inverse_range, steps);
      const V offset = hn::Add(low, hn::Mul(range, hn::Div(hn::Set(d, below), steps)));
      const CodeSums<V> s = code_sums(tile, lane, inverse, offset, highest);
      keep_better(fit(d, m, s, signed_offset), s);
    }
  }
  for (int r = 0; r < kRefinements; ++r) {
    const CodeSums<V> s =
        code_sums(tile, lane, inverse_or_zero(d, best.scale), best.offset, highest);
    keep_better(fit(d, m, s, signed_offset), s);
  }
  return best;
}

template <int kGroups>
void write_codes(const Tile<kGroups>& tile, const float* scale, const float* offset, float highest,
                 uint8_t* codes) {
  const Lanes<kGroups> d;
  const auto lanes = static_cast<int>(hn::Lanes(d));
  const Integers values{0, highest};
  HWY_ALIGN float rounded[kGroups];
  for (int e = 0; e < Tile<kGroups>::kElements; ++e) {
    for (int lane = 0; lane < kGroups; lane += lanes) {
      const auto inverse = inverse_or_zero(d, hn::Load(d, scale + lane));
      const auto x = hn::Sub(hn::Load(d, tile.x + e * kGroups + lane), hn::Load(d, offset + lane));
      hn::Store(values.round(d, hn::Mul(x, inverse)), d, rounded + lane);
    }
    for (int g = 0; g < kGroups; ++g) {
      codes[g * Tile<kGroups>::kElements + e] = values.code(rounded[g]);
    }
  }
}

// The number among some candidates whose multiples by 0 to `highest` are nearest to `wanted`
// (none negative), each difference weighed by what it costs.
template <int kGroups>
float choose_unit(const float* wanted, const float* curvature, float highest) {
  const float peak = *std::max_element(wanted, wanted + kGroups);
  if (!(peak > 0)) return 0;
  const hn::CappedTag<float, 8> d;
  constexpr int kCandidates = 16;
  HWY_ALIGN float cost[kCandidates];
  HWY_ALIGN float tried[kCandidates];
  for (int c = 0; c < kCandidates; ++c) {
    tried[c] = peak / (highest * (1.02f - 0.02f * static_cast<float>(c)));
  }
  for (int c = 0; c < kCandidates; c += static_cast<int>(hn::Lanes(d))) {
    const auto candidate = hn::Load(d, tried + c);
    const auto inverse = hn::Div(hn::Set(d, 1.0f), candidate);
    auto sum = hn::Zero(d);
    for (int g = 0; g < kGroups; ++g) {
      const auto w = hn::Set(d, wanted[g]);
      const auto integer = hn::Min(hn::Round(hn::Mul(w, inverse)), hn::Set(d, highest));
      const auto off = hn::Sub(w, hn::Mul(integer, candidate));
      sum = hn::Add(sum, hn::Mul(hn::Set(d, curvature[g]), hn::Mul(off, off)));
    }
    hn::Store(sum, d, cost + c);
  }
  return tried[std::min_element(cost, cost + kCandidates) - cost];
}

// Integer scales and minima of all groups, and what comes with them.
template <int kGroups>
struct Choice {
  HWY_ALIGN float scale[kGroups];
  HWY_ALIGN float minimum[kGroups];
  float error;  // the sum of weighted squares
  // Least squares of d and dmin: the sums of w s q s q, w s q m, w m m, w x s q, w x m.
  float ss, sm, mm, xs, xm;
};

// Integers near `scale / d` and `minimum / dmin`: for each of some scales, the minimum that suits
// it.
template <int kGroups>
void choose_integers(const Tile<kGroups>& tile, float d_value, float dmin_value, const float* scale,
                     const float* minimum, float highest_code, float highest_scale, int reach,
                     Choice<kGroups>* out) {
  const Lanes<kGroups> d;
  using V = hn::Vec<Lanes<kGroups>>;
  const auto lanes = static_cast<int>(hn::Lanes(d));
  const Integers codes{0, highest_code}, scales{0, highest_scale};
  const V unit = hn::Set(d, d_value), unit_min = hn::Set(d, dmin_value);
  const V inverse_unit = inverse_or_zero(d, unit), inverse_unit_min = inverse_or_zero(d, unit_min);
  HWY_ALIGN float error[kGroups], ss[kGroups], sm[kGroups], mm[kGroups], xs[kGroups], xm[kGroups];
  for (int lane = 0; lane < kGroups; lane += lanes) {
    const Moments<V> m = moments(tile, lane);
    const V inverse_w = inverse_or_zero(d, m.w);
    const V nearest = hn::Round(hn::Mul(hn::Load(d, scale + lane), inverse_unit));
    V best_error = hn::Set(d, 3e38f), best_s = hn::Zero(d), best_m = hn::Zero(d);
    CodeSums<V> best_sums{hn::Zero(d), hn::Zero(d), hn::Zero(d)};
    V mi = scales.round(d, hn::Mul(hn::Load(d, minimum + lane), inverse_unit_min));
    const V first_mi = mi;
    for (int off = -reach; off <= reach; ++off) {
      const V s = scales.round(d, hn::Add(nearest, hn::Set(d, static_cast<float>(off))));
      const V a = hn::Mul(s, unit);
      const V inverse = inverse_or_zero(d, a);
      mi = first_mi;
      for (int turn = 0; turn < 2; ++turn) {
        const V b = hn::Mul(mi, unit_min);
        V e2 = hn::Zero(d);
        CodeSums<V> sums{hn::Zero(d), hn::Zero(d), hn::Zero(d)};
        for (int e = 0; e < Tile<kGroups>::kElements; ++e) {
          const V x = hn::Load(d, tile.x + e * kGroups + lane);
          const V w = hn::Load(d, tile.weight + e * kGroups + lane);
          const V above = hn::Add(x, b);
          const V q = codes.round(d, hn::Mul(above, inverse));
          const V diff = hn::Sub(above, hn::Mul(a, q));
          const V wq = hn::Mul(w, q);
          e2 = hn::Add(e2, hn::Mul(hn::Mul(w, diff), diff));
          sums.q = hn::Add(sums.q, wq);
          sums.qq = hn::Add(sums.qq, hn::Mul(wq, q));
          sums.xq = hn::Add(sums.xq, hn::Mul(wq, x));
        }
        const auto better = hn::Lt(e2, best_error);
        best_error = hn::IfThenElse(better, e2, best_error);
        best_s = hn::IfThenElse(better, s, best_s);
        best_m = hn::IfThenElse(better, mi, best_m);
        best_sums.q = hn::IfThenElse(better, sums.q, best_sums.q);
        best_sums.qq = hn::IfThenElse(better, sums.qq, best_sums.qq);
        best_sums.xq = hn::IfThenElse(better, sums.xq, best_sums.xq);
        // The minimum that suits these codes.
        const V suits = hn::Mul(hn::Sub(hn::Mul(a, sums.q), m.x), inverse_w);
        mi = scales.round(d, hn::Mul(suits, inverse_unit_min));
      }
    }
    hn::Store(best_error, d, error + lane);
    hn::Store(best_s, d, out->scale + lane);
    hn::Store(best_m, d, out->minimum + lane);
    hn::Store(hn::Mul(hn::Mul(best_s, best_s), best_sums.qq), d, ss + lane);
    hn::Store(hn::Mul(hn::Mul(best_s, best_m), best_sums.q), d, sm + lane);
    hn::Store(hn::Mul(hn::Mul(best_m, best_m), m.w), d, mm + lane);
    hn::Store(hn::Mul(best_s, best_sums.xq), d, xs + lane);
    hn::Store(hn::Mul(best_m, m.x), d, xm + lane);
  }
  out->error = out->ss = out->sm = out->mm = out->xs = out->xm = 0;
  for (int g = 0; g < kGroups; ++g) {
    out->error += error[g];
    out->ss += ss[g];
    out->sm += sm[g];
    out->mm += mm[g];
    out->xs += xs[g];
    out->xm += xm[g];
  }
}

constexpr int kRounds = 3;

template <int kGroups>
void search_scales_and_minima_of(const float* x, const float* importance, float highest_code,
                                 float highest_scale, ScaledCodesWithMinima* out) {
  const Lanes<kGroups> d;
  using V = hn::Vec<Lanes<kGroups>>;
  const auto lanes = static_cast<int>(hn::Lanes(d));
  Tile<kGroups> tile;
  load_tile(x, importance, kGroups, true, &tile);
  const float unit = tile.unit[0];

  HWY_ALIGN float scale[kGroups], minimum[kGroups], sum_w[kGroups], sum_x[kGroups], sum_q[kGroups],
      curvature[kGroups];
  for (int lane = 0; lane < kGroups; lane += lanes) {
    const Moments<V> m = moments(tile, lane);
    CodeSums<V> sums;
    const Line<V> line = search_line(tile, lane, m, highest_code, false, &sums);
    hn::Store(line.scale, d, scale + lane);
    hn::Store(hn::Neg(line.offset), d, minimum + lane);
    hn::Store(m.w, d, sum_w + lane);
    hn::Store(m.x, d, sum_x + lane);
    hn::Store(sums.q, d, sum_q + lane);
    // What a wrong scale costs if the minimum makes the best of it.
    const V free = hn::Sub(sums.qq, hn::Mul(hn::Mul(sums.q, sums.q), inverse_or_zero(d, m.w)));
    hn::Store(hn::Max(free, hn::Zero(d)), d, curvature + lane);
  }

  RoundedScale dd = round_scale(choose_unit<kGroups>(scale, curvature, highest_scale), unit);
  RoundedScale dm = round_scale(choose_unit<kGroups>(minimum, sum_w, highest_scale), unit);
  Choice<kGroups> best{}, choice;
  RoundedScale best_d, best_dmin;
  best.error = 3e38f;
  for (int round = 0; round < kRounds; ++round) {
    choose_integers(tile, dd.value, dm.value, scale, minimum, highest_code, highest_scale, 1,
                    &choice);
    if (!(choice.error < best.error)) break;
    best = choice;
    best_d = dd;
    best_dmin = dm;
    for (int g = 0; g < kGroups; ++g) {
      scale[g] = choice.scale[g] * dd.value;
      minimum[g] = choice.minimum[g] * dm.value;
    }
    // x = d (s q) - dmin m
    const float determinant = choice.ss * choice.mm - choice.sm * choice.sm;
    if (determinant > 1e-6f * choice.ss * choice.mm) {
      const float a = (choice.mm * choice.xs - choice.sm * choice.xm) / determinant;
      const float b = (choice.sm * choice.xs - choice.ss * choice.xm) / determinant;
      if (!(a > 0) || b < 0) break;
      dd = round_scale(a, unit);
      dm = round_scale(b, unit);
    } else if (choice.mm == 0 && choice.ss > 0 && choice.xs > 0) {
      dd = round_scale(choice.xs / choice.ss, unit);
    } else {
      break;
    }
  }

  out->d = best_d.half;
  out->dmin = best_dmin.half;
  for (int g = 0; g < kGroups; ++g) {
    out->scale[g] = static_cast<uint8_t>(best.scale[g]);
    out->minimum[g] = static_cast<uint8_t>(best.minimum[g]);
    scale[g] = best.scale[g] * best_d.value;
    minimum[g] = -best.minimum[g] * best_dmin.value;
  }
  write_codes(tile, scale, minimum, highest_code, out->code);
}

void search_scales_and_minima_impl(const float* x, const float* importance, int groups,
                                   int highest_code, int highest_scale,
                                   ScaledCodesWithMinima* out) {
  const auto code = static_cast<float>(highest_code), scale = static_cast<float>(highest_scale);
  if (groups == 8) {
    search_scales_and_minima_of<8>(x, importance, code, scale, out);
  } else {
    search_scales_and_minima_of<16>(x, importance, code, scale, out);
  }
}

void search_block_scales_and_offsets_impl(const float* x, const float* importance, int blocks,
                                          int highest_code, BlockScalesAndOffsets* out) {
  const Lanes<8> d;
  using V = hn::Vec<Lanes<8>>;
  Tile<8> tile;
  load_tile(x, importance, blocks, false, &tile);
  const auto highest = static_cast<float>(highest_code);
  HWY_ALIGN float scale[8], offset[8];
  for (int lane = 0; lane < 8; lane += static_cast<int>(hn::Lanes(d))) {
    CodeSums<V> sums;
    const Moments<V> m = moments(tile, lane);
    const Line<V> line = search_line(tile, lane, m, highest, true, &sums);
    hn::Store(line.scale, d, scale + lane);
    hn::Store(line.offset, d, offset + lane);
  }
  for (int b = 0; b < 8; ++b) {
    const RoundedScale s = round_scale(scale[b], tile.unit[b]);
    out->d[b] = s.half;
    out->m[b] = Half::from_bits(finite_f16(offset[b] * tile.unit[b]));
    scale[b] = s.value;
    offset[b] = out->m[b].value() / tile.unit[b];
  }
  write_codes(tile, scale, offset, highest, out->code);
}

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::formats
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dsv3::formats {

HWY_EXPORT(search_scales_and_minima_impl);
HWY_EXPORT(search_block_scales_and_offsets_impl);

void search_scales_and_minima(const float* x, const float* importance, int groups, int highest_code,
                              int highest_scale, ScaledCodesWithMinima* out) {
  HWY_DYNAMIC_DISPATCH(search_scales_and_minima_impl)
  (x, importance, groups, highest_code, highest_scale, out);
}

void search_block_scales_and_offsets(const float* x, const float* importance, int blocks,
                                     int highest_code, BlockScalesAndOffsets* out) {
  HWY_DYNAMIC_DISPATCH(search_block_scales_and_offsets_impl)
  (x, importance, blocks, highest_code, out);
}

}  // namespace dsv3::formats
#endif  // HWY_ONCE
