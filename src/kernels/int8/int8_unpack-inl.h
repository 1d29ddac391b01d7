// Unpack<Block>: 256 weights of a block format as codes and scales, in registers:
//   weight = scale[g] * (code - kOffset) - minimum[g], g its group of 16
//   blocks        a chunk of 256: one block, or eight blocks of 32
//   codes<g>(b)   the 32 codes of groups 2 g and 2 g + 1, unsigned, or signed if kSigned
//   scales(b, s, m)
// The layouts are drawn in src/formats. Included once per instruction set (see base/simd.h).
#include "formats/iq4_nl.h"
#include "formats/iq4_xs.h"
#include "formats/q2_k.h"
#include "formats/q3_k.h"
#include "formats/q4_0.h"
#include "formats/q4_1.h"
#include "formats/q4_k.h"
#include "formats/q5_0.h"
#include "formats/q5_1.h"
#include "formats/q5_k.h"
#include "formats/q6_k.h"
#include "formats/q8_0.h"

#if defined(DSV3_KERNELS_INT8_UNPACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DSV3_KERNELS_INT8_UNPACK_INL_H_
#undef DSV3_KERNELS_INT8_UNPACK_INL_H_
#else
#define DSV3_KERNELS_INT8_UNPACK_INL_H_
#endif

#include <cstring>

#include "hwy/highway.h"

#if HWY_TARGET != HWY_SCALAR  // which has the reference instead

HWY_BEFORE_NAMESPACE();
namespace dsv3::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A vector of at most 16 floats, and as many bytes.
using F = hn::CappedTag<float, 16>;
using VF = hn::Vec<F>;
constexpr int kFloats = static_cast<int>(hn::MaxLanes(F()));
constexpr int kScaleVectors = 16 / kFloats;
// 16 scales, those of a chunk. (Constructors are written out, since the compiler's own would not be
// compiled for the vectors' instruction set.)
struct Scales {
  HWY_INLINE Scales() {}
  VF v[kScaleVectors];
};

// 32 codes, in one vector or two.
using B32 = hn::CappedTag<uint8_t, 32>;
using VB32 = hn::Vec<B32>;
constexpr int kParts = 32 / static_cast<int>(hn::MaxLanes(B32()));
struct Codes32 {
  HWY_INLINE Codes32() {}
  VB32 v[kParts];
};
using B16 = hn::CappedTag<uint8_t, 16>;
using VB16 = hn::Vec<B16>;

// f(vector of the bytes at p, part) of 32 bytes.
template <class Fn>
HWY_INLINE Codes32 map32(const uint8_t* p, Fn&& f) {
  Codes32 out;
  for (int i = 0; i < kParts; ++i) {
    out.v[i] = f(hn::LoadU(B32(), p + i * static_cast<int>(hn::MaxLanes(B32()))), i);
  }
  return out;
}
HWY_INLINE Codes32 from_halves(VB16 low, VB16 high) {
  Codes32 out;
#if HWY_MAX_BYTES >= 32
  out.v[0] = hn::Combine(B32(), high, low);
#else
  out.v[0] = low;
  out.v[1] = high;
#endif
  return out;
}
// The codes of a group of 32 in 16 bytes: element i in the low half of byte i, i + 16 in the high.
HWY_INLINE Codes32 nibbles32(const uint8_t* p) {
  const B16 d;
  const auto v = hn::LoadU(d, p);
  return from_halves(hn::And(v, hn::Set(d, 0xF)), hn::ShiftRight<4>(v));
}
template <int kShift, int kMask>
HWY_INLINE VB32 bits32(VB32 v) {
  const B32 d;
  return hn::And(hn::ShiftRight<kShift>(v), hn::Set(d, kMask));
}
// `bit` where v has `mask`.
template <int kMask, int kBit>
HWY_INLINE VB32 bit32(VB32 v) {
  const B32 d;
  const auto m = hn::Set(d, kMask);
  return hn::IfThenElseZero(hn::Eq(hn::And(v, m), m), hn::Set(d, kBit));
}
// Five-bit codes of a block of 32: the fifth bits are bits of `bits`.
HWY_INLINE Codes32 five_bits32(const uint8_t* nibbles, const uint8_t* bits) {
  const B16 d;
  HWY_ALIGN uint8_t room[8] = {};  // LoadMaskBits may read eight bytes
  std::memcpy(room, bits, 2);
  const auto low = hn::IfThenElseZero(hn::LoadMaskBits(d, room), hn::Set(d, 16));
  std::memcpy(room, bits + 2, 2);
  const auto high = hn::IfThenElseZero(hn::LoadMaskBits(d, room), hn::Set(d, 16));
  const auto v = hn::LoadU(d, nibbles);
  return from_halves(hn::Or(hn::And(v, hn::Set(d, 0xF)), low), hn::Or(hn::ShiftRight<4>(v), high));
}
HWY_INLINE Codes32 iq4_values32(const uint8_t* p) {
  const B16 d;
  const auto table = hn::LoadU(d, reinterpret_cast<const uint8_t*>(formats::kIq4Values.data()));
  const auto v = hn::LoadU(d, p);
  return from_halves(hn::TableLookupBytes(table, hn::And(v, hn::Set(d, 0xF))),
                     hn::TableLookupBytes(table, hn::ShiftRight<4>(v)));
}

HWY_INLINE float half_value(const formats::Half& h) {
  const hn::CappedTag<float, 4> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> d16;
  const hn::Rebind<uint16_t, decltype(d)> du16;
  const auto bits = static_cast<uint16_t>(h.low | h.high << 8);
  return hn::GetLane(hn::PromoteTo(d, hn::BitCast(d16, hn::Set(du16, bits))));
}
// Small pieces of a block go from integer registers to vectors rather than through memory, where a
// load that spans several stores waits for all of them.
using U64x2 = hn::CappedTag<uint64_t, 2>;
HWY_INLINE VB16 bytes16(uint64_t low, uint64_t high) {
  const U64x2 d;
  return hn::BitCast(B16(), hn::InterleaveLower(d, hn::Set(d, low), hn::Set(d, high)));
}
// Each of the eight bytes twice.
HWY_INLINE VB16 each_twice(uint64_t bytes) {
  const B16 d;
  const auto v = hn::BitCast(d, hn::Set(U64x2(), bytes));
  return hn::InterleaveLower(d, v, v);
}

// 16 bytes as floats times d.
template <class V>
HWY_INLINE Scales scaled_bytes(V bytes, float scale) {
  using T = hn::TFromV<V>;
  const F d;
  const hn::RebindToSigned<F> d32;
  const hn::Rebind<T, F> d8;
  Scales out;
#if HWY_MAX_BYTES >= 64
  (void)d8;
  out.v[0] = hn::Mul(hn::ConvertTo(d, hn::PromoteTo(d32, bytes)), hn::Set(d, scale));
#else
  HWY_ALIGN T room[16];
  hn::Store(bytes, hn::CappedTag<T, 16>(), room);
  for (int i = 0; i < kScaleVectors; ++i) {
    const auto v = hn::PromoteTo(d32, hn::LoadU(d8, room + i * kFloats));
    out.v[i] = hn::Mul(hn::ConvertTo(d, v), hn::Set(d, scale));
  }
#endif
  return out;
}
// The float16 of eight blocks, each twice.
template <class Block>
HWY_INLINE Scales block_scales(const Block* b, formats::Half Block::*half) {
  const auto four = [&](int first) HWY_ATTR {
    uint64_t bits = 0;
    for (int i = 3; i >= 0; --i) {
      uint16_t h;
      std::memcpy(&h, &(b[first + i].*half), 2);
      bits = bits << 16 | h;
    }
    return bits;
  };
  const hn::CappedTag<uint16_t, 8> d16;
  const auto v = hn::BitCast(d16, bytes16(four(0), four(4)));
  const auto low = hn::InterleaveLower(d16, v, v), high = hn::InterleaveUpper(d16, v, v);
  const F d;
  Scales out;
#if HWY_MAX_BYTES >= 64
  const hn::Rebind<uint16_t, F> du16;
  const hn::Rebind<hwy::float16_t, F> df16;
  out.v[0] = hn::PromoteTo(d, hn::BitCast(df16, hn::Combine(du16, high, low)));
#else
  const hn::Rebind<hwy::float16_t, F> df16;
  HWY_ALIGN uint16_t room[16];
  hn::Store(low, d16, room);
  hn::Store(high, d16, room + 8);
  for (int i = 0; i < kScaleVectors; ++i) {
    const auto* halves = reinterpret_cast<const hwy::float16_t*>(room + i * kFloats);
    out.v[i] = hn::PromoteTo(d, hn::Load(df16, halves));
  }
#endif
  return out;
}

template <class Block>
struct Unpack;

template <class Block>
struct UnpackBlocks32 {
  static constexpr int kElements = 32;
  static constexpr bool kHasMinimum = false;
  static constexpr bool kSigned = false;
  static constexpr int kOffset = 0;
  static constexpr int kGroup = 32;
  static HWY_INLINE void scales(const Block* b, Scales& s, Scales&) {
    s = block_scales(b, &Block::d);
  }
};
template <class Block>
struct UnpackBlocks256 {
  static constexpr int kElements = 256;
  static constexpr bool kHasMinimum = false;
  static constexpr bool kSigned = false;
  static constexpr int kOffset = 0;
  static constexpr int kGroup = 16;
};

template <>
struct Unpack<formats::BlockQ8_0> : UnpackBlocks32<formats::BlockQ8_0> {
  static constexpr bool kSigned = true;
  template <int g>
  static HWY_INLINE Codes32 codes(const formats::BlockQ8_0* b) {
    return map32(reinterpret_cast<const uint8_t*>(b[g].q.data()),
                 [](VB32 v, int) HWY_ATTR { return v; });
  }
};
template <>
struct Unpack<formats::BlockQ4_0> : UnpackBlocks32<formats::BlockQ4_0> {
  static constexpr int kOffset = 8;
  template <int g>
  static HWY_INLINE Codes32 codes(const formats::BlockQ4_0* b) {
    return nibbles32(b[g].q.data());
  }
};
template <>
struct Unpack<formats::BlockQ5_0> : UnpackBlocks32<formats::BlockQ5_0> {
  static constexpr int kOffset = 16;
  template <int g>
  static HWY_INLINE Codes32 codes(const formats::BlockQ5_0* b) {
    return five_bits32(b[g].q.data(), b[g].q4.data());
  }
};
template <class Block>
struct UnpackBlocks32Min : UnpackBlocks32<Block> {
  static constexpr bool kHasMinimum = true;
  static HWY_INLINE void scales(const Block* b, Scales& s, Scales& m) {
    s = block_scales(b, &Block::d);
    m = block_scales(b, &Block::m);
    for (VF& v : m.v) v = hn::Neg(v);  // these formats add m
  }
};
template <>
struct Unpack<formats::BlockQ4_1> : UnpackBlocks32Min<formats::BlockQ4_1> {
  template <int g>
  static HWY_INLINE Codes32 codes(const formats::BlockQ4_1* b) {
    return nibbles32(b[g].q.data());
  }
};
template <>
struct Unpack<formats::BlockQ5_1> : UnpackBlocks32Min<formats::BlockQ5_1> {
  template <int g>
  static HWY_INLINE Codes32 codes(const formats::BlockQ5_1* b) {
    return five_bits32(b[g].q.data(), b[g].q4.data());
  }
};
template <>
struct Unpack<formats::BlockIQ4_NL> : UnpackBlocks32<formats::BlockIQ4_NL> {
  static constexpr bool kSigned = true;
  template <int g>
  static HWY_INLINE Codes32 codes(const formats::BlockIQ4_NL* b) {
    return iq4_values32(b[g].q.data());
  }
};
template <>
struct Unpack<formats::BlockIQ4_XS> : UnpackBlocks256<formats::BlockIQ4_XS> {
  static constexpr bool kSigned = true;
  static constexpr int kGroup = 32;
  template <int g>
  static HWY_INLINE Codes32 codes(const formats::BlockIQ4_XS* b) {
    return iq4_values32(b->q.data() + 16 * g);
  }
  static HWY_INLINE void scales(const formats::BlockIQ4_XS* b, Scales& s, Scales&) {
    // The nibbles of scales_l and the pairs of bits of scales_h, spread to bytes.
    uint32_t nibbles;
    uint16_t pairs;
    std::memcpy(&nibbles, b->scales_l.data(), 4);
    std::memcpy(&pairs, b->scales_h.data(), 2);
    uint64_t low = nibbles, high = pairs;
    low = (low | low << 16) & 0x0000FFFF0000FFFF;
    low = (low | low << 8) & 0x00FF00FF00FF00FF;
    low = (low | low << 4) & 0x0F0F0F0F0F0F0F0F;
    high = (high | high << 24) & 0x000000FF000000FF;
    high = (high | high << 12) & 0x000F000F000F000F;
    high = (high | high << 6) & 0x0303030303030303;
    const hn::CappedTag<int8_t, 16> di;
    const auto biased = hn::BitCast(di, each_twice(low | high << 4));
    s = scaled_bytes(hn::Sub(biased, hn::Set(di, 32)), half_value(b->d));
  }
};

template <class Block>
HWY_INLINE void k_scales(const Block* b, Scales& s, Scales& m) {
  // formats::KScales, four groups at a time.
  uint32_t first, second, third;
  std::memcpy(&first, b->scales.bytes.data(), 4);
  std::memcpy(&second, b->scales.bytes.data() + 4, 4);
  std::memcpy(&third, b->scales.bytes.data() + 8, 4);
  const uint32_t scale = (third & 0x0F0F0F0F) | (first >> 2 & 0x30303030);
  const uint32_t minimum = (third >> 4 & 0x0F0F0F0F) | (second >> 2 & 0x30303030);
  s = scaled_bytes(each_twice((first & 0x3F3F3F3F) | uint64_t{scale} << 32), half_value(b->d));
  m = scaled_bytes(each_twice((second & 0x3F3F3F3F) | uint64_t{minimum} << 32),
                   half_value(b->dmin));
}
template <>
struct Unpack<formats::BlockQ4_K> : UnpackBlocks256<formats::BlockQ4_K> {
  static constexpr bool kHasMinimum = true;
  static constexpr int kGroup = 32;
  template <int g>
  static HWY_INLINE Codes32 codes(const formats::BlockQ4_K* b) {
    return map32(b->q.data() + 32 * (g / 2),
                 [](VB32 v, int) HWY_ATTR { return bits32<4 * (g % 2), 0xF>(v); });
  }
  static HWY_INLINE void scales(const formats::BlockQ4_K* b, Scales& s, Scales& m) {
    k_scales(b, s, m);
  }
};
template <>
struct Unpack<formats::BlockQ5_K> : UnpackBlocks256<formats::BlockQ5_K> {
  static constexpr bool kHasMinimum = true;
  static constexpr int kGroup = 32;
  template <int g>
  static HWY_INLINE Codes32 codes(const formats::BlockQ5_K* b) {
    const Codes32 fifth =
        map32(b->q4.data(), [](VB32 v, int) HWY_ATTR { return bit32<1 << g, 16>(v); });
    return map32(b->q.data() + 32 * (g / 2), [&](VB32 v, int i) HWY_ATTR {
      return hn::Or(bits32<4 * (g % 2), 0xF>(v), fifth.v[i]);
    });
  }
  static HWY_INLINE void scales(const formats::BlockQ5_K* b, Scales& s, Scales& m) {
    k_scales(b, s, m);
  }
};
template <>
struct Unpack<formats::BlockQ6_K> : UnpackBlocks256<formats::BlockQ6_K> {
  static constexpr int kOffset = 32;
  template <int g>
  static HWY_INLINE Codes32 codes(const formats::BlockQ6_K* b) {
    const Codes32 upper = map32(b->q4.data() + 32 * (g / 4), [](VB32 v, int) HWY_ATTR {
      return hn::ShiftLeft<4>(bits32<2 * (g % 4), 3>(v));
    });
    return map32(b->q.data() + 64 * (g / 4) + 32 * (g % 2), [&](VB32 v, int i) HWY_ATTR {
      return hn::Or(bits32<4 * (g % 4 / 2), 0xF>(v), upper.v[i]);
    });
  }
  static HWY_INLINE void scales(const formats::BlockQ6_K* b, Scales& s, Scales&) {
    s = scaled_bytes(hn::LoadU(hn::CappedTag<int8_t, 16>(), b->scales.data()), half_value(b->d));
  }
};
template <>
struct Unpack<formats::BlockQ3_K> : UnpackBlocks256<formats::BlockQ3_K> {
  static constexpr int kOffset = 4;
  template <int g>
  static HWY_INLINE Codes32 codes(const formats::BlockQ3_K* b) {
    const Codes32 third =
        map32(b->q2.data(), [](VB32 v, int) HWY_ATTR { return bit32<1 << g, 4>(v); });
    return map32(b->q.data() + 32 * (g / 4), [&](VB32 v, int i) HWY_ATTR {
      return hn::Or(bits32<2 * (g % 4), 3>(v), third.v[i]);
    });
  }
  static HWY_INLINE void scales(const formats::BlockQ3_K* b, Scales& s, Scales&) {
    uint64_t nibbles;
    uint32_t pairs;
    std::memcpy(&nibbles, b->scales.data(), 8);
    std::memcpy(&pairs, b->scales.data() + 8, 4);
    const auto high = [&](int shift)
                          HWY_ATTR { return uint64_t{pairs >> shift & 0x03030303} << 4; };
    const uint64_t first = (nibbles & 0x0F0F0F0F0F0F0F0F) | high(0) | high(2) << 32;
    const uint64_t second = (nibbles >> 4 & 0x0F0F0F0F0F0F0F0F) | high(4) | high(6) << 32;
    const hn::CappedTag<int8_t, 16> di;
    const auto biased = hn::BitCast(di, bytes16(first, second));
    s = scaled_bytes(hn::Sub(biased, hn::Set(di, 32)), half_value(b->d));
  }
};
template <>
struct Unpack<formats::BlockQ2_K> : UnpackBlocks256<formats::BlockQ2_K> {
  static constexpr bool kHasMinimum = true;
  template <int g>
  static HWY_INLINE Codes32 codes(const formats::BlockQ2_K* b) {
    return map32(b->q.data() + 32 * (g / 4),
                 [](VB32 v, int) HWY_ATTR { return bits32<2 * (g % 4), 3>(v); });
  }
  static HWY_INLINE void scales(const formats::BlockQ2_K* b, Scales& s, Scales& m) {
    const B16 d8;
    const auto v = hn::LoadU(d8, b->scales.data());
    s = scaled_bytes(hn::And(v, hn::Set(d8, 0xF)), half_value(b->d));
    m = scaled_bytes(hn::ShiftRight<4>(v), half_value(b->dmin));
  }
};

#if HWY_MAX_BYTES >= 64

// All codes of a chunk in vectors of 64, two groups of 32 in each.
using B64 = hn::CappedTag<uint8_t, 64>;
using VB64 = hn::Vec<B64>;
struct Codes256 {
  HWY_INLINE Codes256() {}
  VB64 v[4];
};

template <class Block, int v = 0>
HWY_INLINE void chunk_codes(const Block* b, Codes256& out) {
  if constexpr (v < 4) {
    using Format = Unpack<Block>;
    const Codes32 low = Format::template codes<2 * v>(b),
                  high = Format::template codes<2 * v + 1>(b);
    out.v[v] = hn::Combine(B64(), high.v[0], low.v[0]);
    chunk_codes<Block, v + 1>(b, out);
  }
}

HWY_INLINE void chunk_codes(const formats::BlockQ8_0* b, Codes256& out) {
  for (int v = 0; v < 4; ++v) {
    out.v[v] = hn::Combine(
        B64(), hn::LoadU(B32(), reinterpret_cast<const uint8_t*>(b[2 * v + 1].q.data())),
        hn::LoadU(B32(), reinterpret_cast<const uint8_t*>(b[2 * v].q.data())));
  }
}

// The formats that most weights are in, with fewer operations: 64 bytes of nibbles at a time.
HWY_INLINE VB64 low_nibbles(VB64 v) { return hn::And(v, hn::Set(B64(), 0xF)); }
HWY_INLINE VB64 high_nibbles(VB64 v) {
  const hn::Repartition<uint16_t, B64> d16;
  return low_nibbles(hn::BitCast(B64(), hn::ShiftRight<4>(hn::BitCast(d16, v))));
}
// The same 32 bytes twice; then shifted left by kLow bits in the first and kHigh in the second half
// (right, if negative). What bits leave a byte for its neighbour has to be masked.
HWY_INLINE VB64 same_halves(const uint8_t* p) {
  const VB32 v = hn::LoadU(B32(), p);
  return hn::Combine(B64(), v, v);
}
template <int kLow, int kHigh>
HWY_INLINE VB64 shift_halves(VB64 v) {
  const hn::Repartition<uint16_t, B64> d16;
  const hn::Half<decltype(d16)> half;
  constexpr bool kRight = kLow < 0 || kHigh < 0;
  const auto count = hn::Combine(d16, hn::Set(half, kHigh < 0 ? -kHigh : kHigh),
                                 hn::Set(half, kLow < 0 ? -kLow : kLow));
  const auto wide = hn::BitCast(d16, v);
  return hn::BitCast(B64(), kRight ? hn::Shr(wide, count) : hn::Shl(wide, count));
}

// Bytes q[32 c + i] have the groups 2 c and 2 c + 1 in their halves.
template <class Block>
HWY_INLINE void nibble_pairs(const Block* b, Codes256& out) {
  const B64 d;
  for (int i = 0; i < 2; ++i) {
    const VB64 q = hn::LoadU(d, b->q.data() + 64 * i);
    const VB64 low = low_nibbles(q), high = high_nibbles(q);
    out.v[2 * i] = hn::ConcatLowerLower(d, high, low);
    out.v[2 * i + 1] = hn::ConcatUpperUpper(d, high, low);
  }
}
HWY_INLINE void chunk_codes(const formats::BlockQ4_K* b, Codes256& out) { nibble_pairs(b, out); }
HWY_INLINE void chunk_codes(const formats::BlockQ5_K* b, Codes256& out) {
  nibble_pairs(b, out);
  const VB64 fifth = same_halves(b->q4.data()), bit = hn::Set(B64(), 16);
  // Bit g of a byte belongs to group g; the fifth bit of a code is worth 16.
  out.v[0] = hn::OrAnd(out.v[0], shift_halves<4, 3>(fifth), bit);
  out.v[1] = hn::OrAnd(out.v[1], shift_halves<2, 1>(fifth), bit);
  out.v[2] = hn::OrAnd(out.v[2], shift_halves<0, -1>(fifth), bit);
  out.v[3] = hn::OrAnd(out.v[3], shift_halves<-2, -3>(fifth), bit);
}
HWY_INLINE void chunk_codes(const formats::BlockQ6_K* b, Codes256& out) {
  const VB64 upper = hn::Set(B64(), 0x30);
  for (int h = 0; h < 2; ++h) {
    const VB64 q = hn::LoadU(B64(), b->q.data() + 64 * h), q4 = same_halves(b->q4.data() + 32 * h);
    out.v[2 * h] = hn::OrAnd(low_nibbles(q), shift_halves<4, 2>(q4), upper);
    out.v[2 * h + 1] = hn::OrAnd(high_nibbles(q), shift_halves<0, -2>(q4), upper);
  }
}

#endif  // HWY_MAX_BYTES >= 64

// Calls f(blocks, chunk) for each chunk of a row of W. The row is asked for `ahead` bytes before
// its use, but nothing from `end` on; blocks of 32 that do not fill the last chunk are followed by
// zeros, whose scale is zero.
template <class Block, class Fn>
HWY_INLINE void for_each_chunk(const Block* row, int64_t cols, int64_t ahead, const char* end,
                               Fn&& f) {
  constexpr int kBlocks = 256 / Unpack<Block>::kElements;
  const int64_t whole = cols / 256;
  for (int64_t chunk = 0; chunk < whole; ++chunk) {
    const Block* b = row + chunk * kBlocks;
    const auto* next = reinterpret_cast<const char*>(b) + ahead;
    if (next < end) {
      for (size_t i = 0; i < kBlocks * sizeof(Block); i += 64) __builtin_prefetch(next + i);
    }
    f(b, chunk);
  }
  if constexpr (kBlocks > 1) {
    if (const int64_t rest = cols % 256 / Unpack<Block>::kElements; rest > 0) {
      Block room[kBlocks];
      std::memset(static_cast<void*>(room), 0, sizeof(room));
      std::memcpy(static_cast<void*>(room), row + whole * kBlocks, rest * sizeof(Block));
      f(room, whole);
    }
  }
}

// Calls f with the block type of a block format; returns false for other formats.
template <class Fn>
HWY_INLINE bool with_block(DType format, Fn&& f) {
  switch (format) {
    case DType::kQ4_0:
      return f(formats::BlockQ4_0()), true;
    case DType::kQ4_1:
      return f(formats::BlockQ4_1()), true;
    case DType::kQ5_0:
      return f(formats::BlockQ5_0()), true;
    case DType::kQ5_1:
      return f(formats::BlockQ5_1()), true;
    case DType::kQ8_0:
      return f(formats::BlockQ8_0()), true;
    case DType::kQ2_K:
      return f(formats::BlockQ2_K()), true;
    case DType::kQ3_K:
      return f(formats::BlockQ3_K()), true;
    case DType::kQ4_K:
      return f(formats::BlockQ4_K()), true;
    case DType::kQ5_K:
      return f(formats::BlockQ5_K()), true;
    case DType::kQ6_K:
      return f(formats::BlockQ6_K()), true;
    case DType::kIQ4_NL:
      return f(formats::BlockIQ4_NL()), true;
    case DType::kIQ4_XS:
      return f(formats::BlockIQ4_XS()), true;
    default:
      return false;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::kernels
HWY_AFTER_NAMESPACE();

#endif  // HWY_SCALAR
#endif  // include guard per target
