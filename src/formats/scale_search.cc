#include "formats/scale_search.h"

#include "base/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "formats/scale_search.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "formats/scale_search-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::formats {
namespace HWY_NAMESPACE {

// What a scale takes off the sum of weighted squares: (sum w x q)^2 / sum w q^2.
template <class V>
struct Fit {
  V scale;
  V gain;
  V curvature;  // sum w q^2: the error of a scale that is off by h is h^2 times this more
};

// Least squares for the codes that x * inverse rounds to.
template <int kGroups, class Values, class V>
HWY_INLINE Fit<V> fit(const Tile<kGroups>& tile, int lane, const Values& values, V inverse) {
  const Lanes<kGroups> d;
  V xq = hn::Zero(d), qq = hn::Zero(d);
  for (int e = 0; e < Tile<kGroups>::kElements; ++e) {
    const V x = hn::Load(d, tile.x + e * kGroups + lane);
    const V w = hn::Load(d, tile.weight + e * kGroups + lane);
    const V q = values.round(d, hn::Mul(x, inverse));
    const V wq = hn::Mul(w, q);
    xq = hn::Add(xq, hn::Mul(wq, x));
    qq = hn::Add(qq, hn::Mul(wq, q));
  }
  const V scale = hn::Mul(xq, inverse_or_zero(d, qq));
  return {scale, hn::Mul(scale, xq), qq};
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE void keep_better(D, const Fit<V>& other, Fit<V>* best) {
  const auto better = hn::Gt(other.gain, best->gain);
  best->scale = hn::IfThenElse(better, other.scale, best->scale);
  best->gain = hn::IfThenElse(better, other.gain, best->gain);
  best->curvature = hn::IfThenElse(better, other.curvature, best->curvature);
}

constexpr int kRefinements = 2;

// The best scale of each group. `targets` are the values that the element of largest magnitude is
// tried at.
template <int kGroups, class Values>
void search_groups(const Tile<kGroups>& tile, const Values& values, const float* targets,
                   int n_targets, float* scale, float* curvature) {
  const Lanes<kGroups> d;
  using V = hn::Vec<Lanes<kGroups>>;
  const auto lanes = static_cast<int>(hn::Lanes(d));
  for (int lane = 0; lane < kGroups; lane += lanes) {
    V low = hn::Zero(d), high = hn::Zero(d);
    for (int e = 0; e < Tile<kGroups>::kElements; ++e) {
      const V x = hn::Load(d, tile.x + e * kGroups + lane);
      low = hn::Min(low, x);
      high = hn::Max(high, x);
    }
    const V peak = hn::IfThenElse(hn::Gt(high, hn::Neg(low)), high, low);
    const V inverse_peak = inverse_or_zero(d, peak);
    Fit<V> best{hn::Zero(d), hn::Zero(d), hn::Zero(d)};
    for (int t = 0; t < n_targets; ++t) {
      const V inverse = hn::Mul(inverse_peak, hn::Set(d, targets[t]));
      keep_better(d, fit(tile, lane, values, inverse), &best);
    }
    for (int r = 0; r < kRefinements; ++r) {
      const V inverse = inverse_or_zero(d, best.scale);
      keep_better(d, fit(tile, lane, values, inverse), &best);
    }
    hn::Store(best.scale, d, scale + lane);
    hn::Store(best.curvature, d, curvature + lane);
  }
}

// Codes of each group for given scales, as bytes in the order of the elements.
template <int kGroups, class Values>
void write_codes(const Tile<kGroups>& tile, const Values& values, const float* scale,
                 uint8_t* codes) {
  const Lanes<kGroups> d;
  const auto lanes = static_cast<int>(hn::Lanes(d));
  HWY_ALIGN float rounded[kGroups];
  for (int e = 0; e < Tile<kGroups>::kElements; ++e) {
    for (int lane = 0; lane < kGroups; lane += lanes) {
      const auto inverse = inverse_or_zero(d, hn::Load(d, scale + lane));
      const auto x = hn::Load(d, tile.x + e * kGroups + lane);
      hn::Store(values.round(d, hn::Mul(x, inverse)), d, rounded + lane);
    }
    for (int g = 0; g < kGroups; ++g) {
      codes[g * Tile<kGroups>::kElements + e] = values.code(rounded[g]);
    }
  }
}

// The scale of scales: the one among some candidates whose integer multiples are nearest to the
// groups' scales, each difference weighed by what it costs.
template <int kGroups>
float choose_scale_of_scales(const float* scale, const float* curvature, float limit) {
  float peak = 0;
  for (int g = 0; g < kGroups; ++g) {
    if (std::fabs(scale[g]) > std::fabs(peak)) peak = scale[g];
  }
  if (peak == 0) return 0;
  const hn::CappedTag<float, 8> d;
  constexpr int kCandidates = 16;
  HWY_ALIGN float cost[kCandidates];
  HWY_ALIGN float tried[kCandidates];
  for (int c = 0; c < kCandidates; ++c) {
    // The peak at -limit, a bit beyond it, and below; odd ones the other way round.
    const float at = limit * (1.02f - 0.02f * static_cast<float>(c / 2));
    tried[c] = peak / (c % 2 == 0 ? -at : at);
  }
  for (int c = 0; c < kCandidates; c += static_cast<int>(hn::Lanes(d))) {
    const auto candidate = hn::Load(d, tried + c);
    const auto inverse = hn::Div(hn::Set(d, 1.0f), candidate);
    auto sum = hn::Zero(d);
    for (int g = 0; g < kGroups; ++g) {
      const auto wanted = hn::Set(d, scale[g]);
      const auto integer = hn::Min(hn::Max(hn::Round(hn::Mul(wanted, inverse)), hn::Set(d, -limit)),
                                   hn::Set(d, limit - 1));
      const auto off = hn::Sub(wanted, hn::Mul(integer, candidate));
      sum = hn::Add(sum, hn::Mul(hn::Set(d, curvature[g]), hn::Mul(off, off)));
    }
    hn::Store(sum, d, cost + c);
  }
  return tried[std::min_element(cost, cost + kCandidates) - cost];
}

// Integer scales near `wanted / scale_of_scales` by the error that they give with the codes that
// suit them. Returns the sum of weighted squares of errors; `xq` and `qq` are the sums of a
// least-squares fit of the scale of scales.
template <int kGroups, class Values>
float choose_integer_scales(const Tile<kGroups>& tile, const Values& values, float scale_of_scales,
                            const float* wanted, float limit, int reach, float* integer, float* xq,
                            float* qq) {
  const Lanes<kGroups> d;
  using V = hn::Vec<Lanes<kGroups>>;
  const auto lanes = static_cast<int>(hn::Lanes(d));
  HWY_ALIGN float error[kGroups], sum_xq[kGroups], sum_qq[kGroups];
  const float inverse_of_scales = scale_of_scales == 0 ? 0.0f : 1.0f / scale_of_scales;
  for (int lane = 0; lane < kGroups; lane += lanes) {
    const V nearest = hn::Round(hn::Mul(hn::Load(d, wanted + lane), hn::Set(d, inverse_of_scales)));
    V best_error = hn::Set(d, 3e38f), best = hn::Zero(d), best_xq = hn::Zero(d),
      best_qq = hn::Zero(d);
    for (int off = -reach; off <= reach; ++off) {
      const V s = hn::Min(
          hn::Max(hn::Add(nearest, hn::Set(d, static_cast<float>(off))), hn::Set(d, -limit)),
          hn::Set(d, limit - 1));
      const V a = hn::Mul(s, hn::Set(d, scale_of_scales));
      const V inverse = inverse_or_zero(d, a);
      V e2 = hn::Zero(d), s_xq = hn::Zero(d), s_qq = hn::Zero(d);
      for (int e = 0; e < Tile<kGroups>::kElements; ++e) {
        const V x = hn::Load(d, tile.x + e * kGroups + lane);
        const V w = hn::Load(d, tile.weight + e * kGroups + lane);
        const V q = values.round(d, hn::Mul(x, inverse));
        const V diff = hn::Sub(x, hn::Mul(a, q));
        const V wq = hn::Mul(w, q);
        e2 = hn::Add(e2, hn::Mul(hn::Mul(w, diff), diff));
        s_xq = hn::Add(s_xq, hn::Mul(wq, x));
        s_qq = hn::Add(s_qq, hn::Mul(wq, q));
      }
      const auto better = hn::Lt(e2, best_error);
      best_error = hn::IfThenElse(better, e2, best_error);
      best = hn::IfThenElse(better, s, best);
      best_xq = hn::IfThenElse(better, s_xq, best_xq);
      best_qq = hn::IfThenElse(better, s_qq, best_qq);
    }
    hn::Store(best_error, d, error + lane);
    hn::Store(best, d, integer + lane);
    hn::Store(hn::Mul(best, best_xq), d, sum_xq + lane);
    hn::Store(hn::Mul(hn::Mul(best, best), best_qq), d, sum_qq + lane);
  }
  float total = 0;
  *xq = *qq = 0;
  for (int g = 0; g < kGroups; ++g) {
    total += error[g];
    *xq += sum_xq[g];
    *qq += sum_qq[g];
  }
  return total;
}

constexpr int kRounds = 2;

template <int kGroups, class Values>
void search_scales_of(const float* x, const float* importance, const Values& values,
                      const float* targets, int n_targets, int scale_limit, ScaledCodes* out) {
  Tile<kGroups> tile;
  load_tile(x, importance, kGroups, true, &tile);
  HWY_ALIGN float scale[kGroups], curvature[kGroups], integer[kGroups], best_integer[kGroups] = {};
  search_groups(tile, values, targets, n_targets, scale, curvature);
  const auto limit = static_cast<float>(scale_limit);
  RoundedScale of_scales =
      round_scale(choose_scale_of_scales<kGroups>(scale, curvature, limit), tile.unit[0]);
  RoundedScale best;
  float best_error = 3e38f;
  for (int round = 0; round < kRounds; ++round) {
    float xq, qq;
    const float error =
        choose_integer_scales(tile, values, of_scales.value, scale, limit, 1, integer, &xq, &qq);
    if (!(error < best_error)) break;
    best_error = error;
    best = of_scales;
    std::copy(integer, integer + kGroups, best_integer);
    if (qq == 0) break;
    of_scales = round_scale(xq / qq, tile.unit[0]);
  }
  out->d = best.half;
  for (int g = 0; g < kGroups; ++g) {
    out->scale[g] = static_cast<int8_t>(best_integer[g]);
    scale[g] = best_integer[g] * best.value;
  }
  write_codes(tile, values, scale, out->code);
}

// Whether zeros would be nearer to a group than its best codes for a scale, which can be where the
// scale is subnormal in float16 and no code stands for zero.
template <class Values>
bool zero_is_nearer(const Tile<8>& tile, int group, const Values& values, float scale) {
  const hn::CappedTag<float, 1> d;
  float error = 0, error_of_zero = 0;
  for (int e = 0; e < Tile<8>::kElements; ++e) {
    const float x = tile.x[e * 8 + group], w = tile.weight[e * 8 + group];
    const float off = x - scale * hn::GetLane(values.round(d, hn::Set(d, x / scale)));
    error += w * off * off;
    error_of_zero += w * x * x;
  }
  return error_of_zero < error;
}

template <class Values>
void search_block_scales_of(const float* x, const float* importance, int blocks,
                            const Values& values, const float* targets, int n_targets,
                            BlockScales* out) {
  Tile<8> tile;
  load_tile(x, importance, blocks, false, &tile);
  HWY_ALIGN float scale[8], curvature[8];
  search_groups(tile, values, targets, n_targets, scale, curvature);
  for (int b = 0; b < 8; ++b) {
    RoundedScale rounded = round_scale(scale[b], tile.unit[b]);
    if (rounded.subnormal && zero_is_nearer(tile, b, values, rounded.value)) rounded = {};
    out->d[b] = rounded.half;
    scale[b] = rounded.value;
  }
  write_codes(tile, values, scale, out->code);
}

// Calls f(values, targets, number of targets).
template <class F>
void with_values(CodeValues v, F&& f) {
  float targets[32];
  int n = 0;
  if (v.kind == CodeValues::kIq4) {
    for (int i = 0; i < 10; ++i) targets[n++] = -136.0f + 3.0f * static_cast<float>(i);
    for (int i = 0; i < 6; ++i) targets[n++] = 104.0f + 4.0f * static_cast<float>(i);
    return f(Iq4(), targets, n);
  }
  const auto low = static_cast<float>(v.lowest);
  for (int i = -7; i <= 7; ++i) targets[n++] = low + 0.13f * static_cast<float>(i);
  if (v.highest < 16) {
    for (int i = -4; i <= 4; ++i) targets[n++] = -low - 0.5f + 0.2f * static_cast<float>(i);
  }
  return f(Integers{low, static_cast<float>(v.highest)}, targets, n);
}

void search_scales_impl(const float* x, const float* importance, int groups, CodeValues values,
                        int scale_limit, ScaledCodes* out) {
  with_values(values, [&](const auto& v, const float* targets, int n) HWY_ATTR {
    if (groups == 8) {
      search_scales_of<8>(x, importance, v, targets, n, scale_limit, out);
    } else {
      search_scales_of<16>(x, importance, v, targets, n, scale_limit, out);
    }
  });
}

void search_block_scales_impl(const float* x, const float* importance, int blocks,
                              CodeValues values, BlockScales* out) {
  with_values(values, [&](const auto& v, const float* targets, int n) HWY_ATTR {
    search_block_scales_of(x, importance, blocks, v, targets, n, out);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::formats
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dsv3::formats {

HWY_EXPORT(search_scales_impl);
HWY_EXPORT(search_block_scales_impl);

void search_scales(const float* x, const float* importance, int groups, CodeValues values,
                   int scale_limit, ScaledCodes* out) {
  HWY_DYNAMIC_DISPATCH(search_scales_impl)(x, importance, groups, values, scale_limit, out);
}

void search_block_scales(const float* x, const float* importance, int blocks, CodeValues values,
                         BlockScales* out) {
  HWY_DYNAMIC_DISPATCH(search_block_scales_impl)(x, importance, blocks, values, out);
}

}  // namespace dsv3::formats
#endif  // HWY_ONCE
