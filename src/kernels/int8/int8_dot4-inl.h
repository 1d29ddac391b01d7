// Products of 8-bit integers, four neighbours a 32-bit lane:
//   dot4(sum, u, s)          sum += u0 s0 + u1 s1 + u2 s2 + u3 s3, u unsigned and at most 127
//   dot4_signed(sum, a, s)   a signed; if kDot4Biased, a + 128 is multiplied instead of a
// Included once per instruction set (see base/simd.h).
#if defined(DSV3_KERNELS_INT8_DOT4_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DSV3_KERNELS_INT8_DOT4_INL_H_
#undef DSV3_KERNELS_INT8_DOT4_INL_H_
#else
#define DSV3_KERNELS_INT8_DOT4_INL_H_
#endif

#include "hwy/highway.h"

#if HWY_TARGET != HWY_SCALAR  // which has the reference instead

HWY_BEFORE_NAMESPACE();
namespace dsv3::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// At most 64 bytes.
using I32 = hn::CappedTag<int32_t, 16>;
using U8 = hn::Repartition<uint8_t, I32>;
using I8 = hn::Repartition<int8_t, I32>;
using VI32 = hn::Vec<I32>;
using VU8 = hn::Vec<U8>;
using VI8 = hn::Vec<I8>;

#if HWY_TARGET == HWY_AVX3_DL
constexpr bool kDot4Biased = true;
// In assembly, because Highway's target names the instruction's AVX2 form, not this one, so that
// the compiler refuses the intrinsic.
HWY_INLINE VI32 dot4(VI32 sum, VU8 u, VI8 s) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(u.raw), "vm"(s.raw));
  return sum;
}
HWY_INLINE VI32 dot4_signed(VI32 sum, VI8 a, VI8 s) {
  return dot4(sum, hn::Xor(hn::BitCast(U8(), a), hn::Set(U8(), 0x80)), s);
}
#elif HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128
constexpr bool kDot4Biased = false;
// Sums of two products are 16 bits wide, and saturate from 127 * 128 * 2 on.
HWY_INLINE VI32 dot4(VI32 sum, VU8 u, VI8 s) {
#if HWY_TARGET == HWY_AVX3
  const auto pairs = _mm512_maddubs_epi16(u.raw, s.raw);
  return hn::Add(sum, VI32{_mm512_madd_epi16(pairs, _mm512_set1_epi16(1))});
#elif HWY_TARGET == HWY_AVX2
  const auto pairs = _mm256_maddubs_epi16(u.raw, s.raw);
  return hn::Add(sum, VI32{_mm256_madd_epi16(pairs, _mm256_set1_epi16(1))});
#else
  const auto pairs = _mm_maddubs_epi16(u.raw, s.raw);
  return hn::Add(sum, VI32{_mm_madd_epi16(pairs, _mm_set1_epi16(1))});
#endif
}
HWY_INLINE VI32 dot4_signed(VI32 sum, VI8 a, VI8 s) {
  // |a| times s with a's sign. a = -128 is 128 as an unsigned byte.
  const I8 d;
  const auto with_sign = hn::IfThenElse(hn::Lt(a, hn::Zero(d)), hn::Neg(s), s);
  return dot4(sum, hn::BitCast(U8(), hn::Abs(a)), with_sign);
}
#else
constexpr bool kDot4Biased = false;
// Byte i of each lane, sign-extended.
template <int i>
HWY_INLINE VI32 byte_of_lane(VI8 v) {
  return hn::ShiftRight<24>(hn::ShiftLeft<24 - 8 * i>(hn::BitCast(I32(), v)));
}
template <int i>
HWY_INLINE VI32 add_product(VI32 sum, VI8 a, VI8 s) {
  return hn::Add(sum, hn::Mul(byte_of_lane<i>(a), byte_of_lane<i>(s)));
}
HWY_INLINE VI32 dot4_signed(VI32 sum, VI8 a, VI8 s) {
  return add_product<3>(add_product<2>(add_product<1>(add_product<0>(sum, a, s), a, s), a, s), a,
                        s);
}
HWY_INLINE VI32 dot4(VI32 sum, VU8 u, VI8 s) { return dot4_signed(sum, hn::BitCast(I8(), u), s); }
#endif

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::kernels
HWY_AFTER_NAMESPACE();

#endif  // HWY_SCALAR
#endif  // include guard per target
