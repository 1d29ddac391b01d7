// decode_block(block, out): one block of each block format to float32, the same bits as the scalar
// definitions in src/formats, which draw the layouts. Included once per instruction set (see
// base/simd.h).
//
// Codes are first unpacked to bytes, then widened and scaled. Every product here is exact (a
// float16 has 11 significant bits, scales and codes have up to 13 together), but for Q6_K and
// IQ4_XS, where it is the last operation; so a fused multiply-add rounds as two operations would.
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

#if defined(DSV3_KERNELS_BLOCK_DECODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DSV3_KERNELS_BLOCK_DECODE_INL_H_
#undef DSV3_KERNELS_BLOCK_DECODE_INL_H_
#else
#define DSV3_KERNELS_BLOCK_DECODE_INL_H_
#endif

#include <cstring>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Vectors of at most 16 floats, so that each divides the smallest group; of at most 32 or 16 bytes.
using DecodeF = hn::CappedTag<float, 16>;
using Bytes32 = hn::CappedTag<uint8_t, 32>;
using Bytes16 = hn::CappedTag<uint8_t, 16>;

template <class Block>
constexpr int block_elements(const Block*) {
  return sizeof(Block) < 64 ? 32 : 256;
}

// n (a multiple of 16) codes, signed or not, as floats.
template <int kCount, class T, class F>
HWY_INLINE void widen(const T* codes, float* out, F&& f) {
  const DecodeF d;
  const hn::RebindToSigned<DecodeF> d32;
  const hn::Rebind<T, DecodeF> d8;
  for (int i = 0; i < kCount; i += static_cast<int>(hn::Lanes(d))) {
    hn::StoreU(f(hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, codes + i)))), d, out + i);
  }
}
template <int kCount, class T>
HWY_INLINE void scale_codes(const T* codes, float scale, float* out) {
  const auto s = hn::Set(DecodeF(), scale);
  widen<kCount>(codes, out, [&](auto q) HWY_ATTR { return hn::Mul(q, s); });
}
// scale * code + offset
template <int kCount, class T>
HWY_INLINE void scale_codes(const T* codes, float scale, float offset, float* out) {
  const auto s = hn::Set(DecodeF(), scale);
  const auto m = hn::Set(DecodeF(), offset);
  widen<kCount>(codes, out, [&](auto q) HWY_ATTR { return hn::MulAdd(q, s, m); });
}
// scale * code - minimum
template <int kCount, class T>
HWY_INLINE void scale_codes_less(const T* codes, float scale, float minimum, float* out) {
  const auto s = hn::Set(DecodeF(), scale);
  const auto m = hn::Set(DecodeF(), minimum);
  widen<kCount>(codes, out, [&](auto q) HWY_ATTR { return hn::MulSub(q, s, m); });
}

// f(bytes at i, i) of 32 (or 16) bytes.
template <class D, int kCount, class F>
HWY_INLINE void each_vector(F&& f) {
  for (int i = 0; i < kCount; i += static_cast<int>(hn::Lanes(D()))) f(i);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V low_half(D d, V v) {
  return hn::And(v, hn::Set(d, 0xF));
}
// `bit` where v has it as `mask`, else 0.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V bit_if(D d, V v, int mask, int bit) {
  const V m = hn::Set(d, static_cast<uint8_t>(mask));
  return hn::IfThenElseZero(hn::Eq(hn::And(v, m), m), hn::Set(d, static_cast<uint8_t>(bit)));
}
// Stores v - offset as signed bytes.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void store_less(D, V v, int offset, int8_t* codes) {
  const hn::RebindToSigned<D> di;
  hn::StoreU(hn::Sub(hn::BitCast(di, v), hn::Set(di, static_cast<int8_t>(offset))), di, codes);
}

// The codes of a block of 32: element i and i + 16 share a byte. `f(codes, first element)` makes
// the bytes that are stored.
template <class F>
HWY_INLINE void unpack_halves(const uint8_t* bytes, F&& f) {
  const Bytes16 d;
  each_vector<Bytes16, 16>([&](int i) HWY_ATTR {
    const auto v = hn::LoadU(d, bytes + i);
    f(low_half(d, v), i);
    f(hn::ShiftRight<4>(v), i + 16);
  });
}
// 16 where bit `first + lane` of the 32 is set.
HWY_INLINE hn::Vec<Bytes16> fifth_bits(const uint8_t* bits, int first) {
  const Bytes16 d;
  HWY_ALIGN uint8_t room[8] = {};  // LoadMaskBits may read eight bytes
  std::memcpy(room, bits + first / 8, 2);
  return hn::IfThenElseZero(hn::LoadMaskBits(d, room), hn::Set(d, 16));
}
HWY_INLINE hn::Vec<hn::RebindToSigned<Bytes16>> iq4_values(hn::Vec<Bytes16> codes) {
  const hn::RebindToSigned<Bytes16> di;
  const auto table = hn::LoadU(di, formats::kIq4Values.data());
  return hn::TableLookupBytes(table, hn::BitCast(di, codes));
}

HWY_INLINE void decode_block(const formats::BlockQ8_0& b, float* out) {
  scale_codes<32>(b.q.data(), b.d.value(), out);
}

HWY_INLINE void decode_block(const formats::BlockQ4_0& b, float* out) {
  HWY_ALIGN int8_t codes[32];
  unpack_halves(b.q.data(),
                [&](auto v, int i) HWY_ATTR { store_less(Bytes16(), v, 8, codes + i); });
  scale_codes<32>(codes, b.d.value(), out);
}

HWY_INLINE void decode_block(const formats::BlockQ4_1& b, float* out) {
  HWY_ALIGN uint8_t codes[32];
  unpack_halves(b.q.data(), [&](auto v, int i) HWY_ATTR { hn::StoreU(v, Bytes16(), codes + i); });
  scale_codes<32>(codes, b.d.value(), b.m.value(), out);
}

HWY_INLINE void decode_block(const formats::BlockQ5_0& b, float* out) {
  HWY_ALIGN int8_t codes[32];
  unpack_halves(b.q.data(), [&](auto v, int i) HWY_ATTR {
    store_less(Bytes16(), hn::Or(v, fifth_bits(b.q4.data(), i)), 16, codes + i);
  });
  scale_codes<32>(codes, b.d.value(), out);
}

HWY_INLINE void decode_block(const formats::BlockQ5_1& b, float* out) {
  HWY_ALIGN uint8_t codes[32];
  unpack_halves(b.q.data(), [&](auto v, int i) HWY_ATTR {
    hn::StoreU(hn::Or(v, fifth_bits(b.q4.data(), i)), Bytes16(), codes + i);
  });
  scale_codes<32>(codes, b.d.value(), b.m.value(), out);
}

HWY_INLINE void decode_block(const formats::BlockIQ4_NL& b, float* out) {
  HWY_ALIGN int8_t codes[32];
  const hn::RebindToSigned<Bytes16> di;
  unpack_halves(b.q.data(),
                [&](auto v, int i) HWY_ATTR { hn::StoreU(iq4_values(v), di, codes + i); });
  scale_codes<32>(codes, b.d.value(), out);
}

HWY_INLINE void decode_block(const formats::BlockIQ4_XS& b, float* out) {
  HWY_ALIGN int8_t codes[32];
  const hn::RebindToSigned<Bytes16> di;
  const float d = b.d.value();
  for (int g = 0; g < 8; ++g) {
    unpack_halves(b.q.data() + 16 * g,
                  [&](auto v, int i) HWY_ATTR { hn::StoreU(iq4_values(v), di, codes + i); });
    scale_codes<32>(codes, d * static_cast<float>(b.scale(g)), out + 32 * g);
  }
}

HWY_INLINE void decode_block(const formats::BlockQ2_K& b, float* out) {
  const Bytes32 d8;
  HWY_ALIGN uint8_t codes[256];
  for (int h = 0; h < 2; ++h) {
    each_vector<Bytes32, 32>([&](int i) HWY_ATTR {
      const auto v = hn::LoadU(d8, b.q.data() + 32 * h + i);
      const auto two_bits = hn::Set(d8, 3);
      uint8_t* to = codes + 128 * h + i;
      hn::StoreU(hn::And(v, two_bits), d8, to);
      hn::StoreU(hn::And(hn::ShiftRight<2>(v), two_bits), d8, to + 32);
      hn::StoreU(hn::And(hn::ShiftRight<4>(v), two_bits), d8, to + 64);
      hn::StoreU(hn::ShiftRight<6>(v), d8, to + 96);
    });
  }
  const float d = b.d.value(), dmin = b.dmin.value();
  for (int g = 0; g < 16; ++g) {
    scale_codes_less<16>(codes + 16 * g, d * static_cast<float>(b.scales[g] & 0xF),
                         dmin * static_cast<float>(b.scales[g] >> 4), out + 16 * g);
  }
}

HWY_INLINE void decode_block(const formats::BlockQ3_K& b, float* out) {
  const Bytes32 d8;
  HWY_ALIGN int8_t codes[256];
  for (int h = 0; h < 2; ++h) {
    each_vector<Bytes32, 32>([&](int i) HWY_ATTR {
      const auto v = hn::LoadU(d8, b.q.data() + 32 * h + i);
      const auto v2 = hn::LoadU(d8, b.q2.data() + i);
      const auto two_bits = hn::Set(d8, 3);
      int8_t* to = codes + 128 * h + i;
      const auto store = [&](auto low, int j) HWY_ATTR {
        store_less(d8, hn::Or(low, bit_if(d8, v2, 1 << (4 * h + j), 4)), 4, to + 32 * j);
      };
      store(hn::And(v, two_bits), 0);
      store(hn::And(hn::ShiftRight<2>(v), two_bits), 1);
      store(hn::And(hn::ShiftRight<4>(v), two_bits), 2);
      store(hn::ShiftRight<6>(v), 3);
    });
  }
  const float d = b.d.value();
  for (int g = 0; g < 16; ++g) {
    scale_codes<16>(codes + 16 * g, d * static_cast<float>(b.scale(g)), out + 16 * g);
  }
}

HWY_INLINE void decode_block(const formats::BlockQ4_K& b, float* out) {
  const Bytes32 d8;
  HWY_ALIGN uint8_t codes[256];
  for (int c = 0; c < 4; ++c) {
    each_vector<Bytes32, 32>([&](int i) HWY_ATTR {
      const auto v = hn::LoadU(d8, b.q.data() + 32 * c + i);
      hn::StoreU(low_half(d8, v), d8, codes + 64 * c + i);
      hn::StoreU(hn::ShiftRight<4>(v), d8, codes + 64 * c + 32 + i);
    });
  }
  const float d = b.d.value(), dmin = b.dmin.value();
  for (int g = 0; g < 8; ++g) {
    scale_codes_less<32>(codes + 32 * g, d * static_cast<float>(b.scales.scale(g)),
                         dmin * static_cast<float>(b.scales.minimum(g)), out + 32 * g);
  }
}

HWY_INLINE void decode_block(const formats::BlockQ5_K& b, float* out) {
  const Bytes32 d8;
  HWY_ALIGN uint8_t codes[256];
  each_vector<Bytes32, 32>([&](int i) HWY_ATTR {
    const auto v4 = hn::LoadU(d8, b.q4.data() + i);
    for (int c = 0; c < 4; ++c) {
      const auto v = hn::LoadU(d8, b.q.data() + 32 * c + i);
      const auto even = bit_if(d8, v4, 1 << (2 * c), 16), odd = bit_if(d8, v4, 2 << (2 * c), 16);
      hn::StoreU(hn::Or(low_half(d8, v), even), d8, codes + 64 * c + i);
      hn::StoreU(hn::Or(hn::ShiftRight<4>(v), odd), d8, codes + 64 * c + 32 + i);
    }
  });
  const float d = b.d.value(), dmin = b.dmin.value();
  for (int g = 0; g < 8; ++g) {
    scale_codes_less<32>(codes + 32 * g, d * static_cast<float>(b.scales.scale(g)),
                         dmin * static_cast<float>(b.scales.minimum(g)), out + 32 * g);
  }
}

HWY_INLINE void decode_block(const formats::BlockQ6_K& b, float* out) {
  const Bytes32 d8;
  HWY_ALIGN int8_t codes[256];
  for (int h = 0; h < 2; ++h) {
    each_vector<Bytes32, 32>([&](int i) HWY_ATTR {
      const auto v0 = hn::LoadU(d8, b.q.data() + 64 * h + i);
      const auto v1 = hn::LoadU(d8, b.q.data() + 64 * h + 32 + i);
      const auto v4 = hn::LoadU(d8, b.q4.data() + 32 * h + i);
      const auto upper = hn::Set(d8, 0x30);
      int8_t* to = codes + 128 * h + i;
      store_less(d8, hn::Or(low_half(d8, v0), hn::And(hn::ShiftLeft<4>(v4), upper)), 32, to);
      store_less(d8, hn::Or(low_half(d8, v1), hn::And(hn::ShiftLeft<2>(v4), upper)), 32, to + 32);
      store_less(d8, hn::Or(hn::ShiftRight<4>(v0), hn::And(v4, upper)), 32, to + 64);
      store_less(d8, hn::Or(hn::ShiftRight<4>(v1), hn::And(hn::ShiftRight<2>(v4), upper)), 32,
                 to + 96);
    });
  }
  const float d = b.d.value();
  for (int g = 0; g < 16; ++g) {
    scale_codes<16>(codes + 16 * g, d * static_cast<float>(b.scales[g]), out + 16 * g);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::kernels
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
