// Vector decoders of the weight formats, one struct a format:
//   Stored                       the element in memory
//   row(w, r)                    the first element of row r
//   segment_end(w, k, cols)      first column after k at which the scale may change
//   scale(w, r, k)               the scale there (1 for formats without)
//   load(d, p, scale)            a vector of float32 from p on
//   decode_one(w, r, k)          one element
// Included once per instruction set (see kernels/simd.h).
#include "formats/float_formats.h"
#include "kernels/gemm/gemm.h"

#if defined(DSV3_KERNELS_WEIGHT_DECODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DSV3_KERNELS_WEIGHT_DECODE_INL_H_
#undef DSV3_KERNELS_WEIGHT_DECODE_INL_H_
#else
#define DSV3_KERNELS_WEIGHT_DECODE_INL_H_
#endif

#include <algorithm>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dsv3::kernels {
namespace HWY_NAMESPACE {

template <typename T>
struct Unscaled {
  using Stored = T;
  static HWY_INLINE const T* row(const WeightView& w, int64_t r) {
    return static_cast<const T*>(w.row(r));
  }
  static HWY_INLINE int64_t segment_end(const WeightView& w, int64_t k, int64_t cols) {
    return w.block_cols == 0 ? cols : std::min(cols, (k / w.block_cols + 1) * w.block_cols);
  }
  static HWY_INLINE float scale(const WeightView&, int64_t, int64_t) { return 1.0f; }
};

struct FormatF32 : Unscaled<float> {
  template <class D>
  static HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> load(D d, const float* p,
                                                    hwy::HWY_NAMESPACE::Vec<D>) {
    return hwy::HWY_NAMESPACE::LoadU(d, p);
  }
  static HWY_INLINE float decode_one(const WeightView& w, int64_t r, int64_t k) {
    return row(w, r)[k];
  }
};

struct FormatBF16 : Unscaled<uint16_t> {
  template <class D>
  static HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> load(D d, const uint16_t* p,
                                                    hwy::HWY_NAMESPACE::Vec<D>) {
    namespace hn = hwy::HWY_NAMESPACE;
    const hn::Rebind<uint16_t, D> d16;
    const hn::RebindToUnsigned<D> d32;
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, p))));
  }
  static HWY_INLINE float decode_one(const WeightView& w, int64_t r, int64_t k) {
    return formats::bf16_to_float(row(w, r)[k]);
  }
};

struct FormatF16 : Unscaled<uint16_t> {
  template <class D>
  static HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> load(D d, const uint16_t* p,
                                                    hwy::HWY_NAMESPACE::Vec<D>) {
    namespace hn = hwy::HWY_NAMESPACE;
    const hn::Rebind<hwy::float16_t, D> d16;
    return hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(p)));
  }
  static HWY_INLINE float decode_one(const WeightView& w, int64_t r, int64_t k) {
    return formats::f16_to_float(row(w, r)[k]);
  }
};

struct FormatF8E4M3 {
  using Stored = uint8_t;
  static HWY_INLINE const uint8_t* row(const WeightView& w, int64_t r) {
    return static_cast<const uint8_t*>(w.row(r));
  }
  static HWY_INLINE int64_t segment_end(const WeightView& w, int64_t k, int64_t cols) {
    return std::min(cols, (k / w.block_cols + 1) * w.block_cols);
  }
  static HWY_INLINE float scale(const WeightView& w, int64_t r, int64_t k) {
    return w.scale[(w.first_row + r) / w.block_rows * w.scale_stride + k / w.block_cols];
  }
  // The seven bits of exponent and mantissa are moved to where float16 has them, which gives the
  // value times 2^-8, subnormals included; float16 is what processors widen without a slow path for
  // subnormals.
  template <class D>
  static HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> load(D d, const uint8_t* p,
                                                    hwy::HWY_NAMESPACE::Vec<D> scale) {
    namespace hn = hwy::HWY_NAMESPACE;
    const hn::Rebind<uint8_t, D> d8;
    const hn::Rebind<uint16_t, D> d16;
    const hn::Rebind<hwy::float16_t, D> df16;
    const auto codes = hn::PromoteTo(d16, hn::LoadU(d8, p));
    const auto magnitude = hn::And(codes, hn::Set(d16, 0x7F));
    const auto sign = hn::And(hn::ShiftLeft<8>(codes), hn::Set(d16, 0x8000));
    const auto half = hn::Or(hn::ShiftLeft<7>(magnitude), sign);
    auto value = hn::PromoteTo(d, hn::BitCast(df16, half));
    // 0x7F is NaN in e4m3; as float16 it reads 1.875, which no other code gives.
    value = hn::IfThenElse(hn::Eq(hn::Abs(value), hn::Set(d, 1.875f)), hn::NaN(d), value);
    return hn::Mul(value, hn::Mul(hn::Set(d, 256.0f), scale));
  }
  static HWY_INLINE float decode_one(const WeightView& w, int64_t r, int64_t k) {
    return formats::e4m3_to_float(row(w, r)[k]) * scale(w, r, k);
  }
};

// Whether scales change only between vectors.
HWY_INLINE bool has_vector_segments(const WeightView& w) {
  return w.format != DType::kF8E4M3 || w.block_cols % 16 == 0;
}

// Calls f with the decoder of the view's format.
template <class F>
HWY_INLINE void with_format(const WeightView& w, F&& f) {
  switch (w.format) {
    case DType::kF32:
      return f(FormatF32());
    case DType::kF16:
      return f(FormatF16());
    case DType::kBF16:
      return f(FormatBF16());
    case DType::kF8E4M3:
      return f(FormatF8E4M3());
    default:
      return;  // block formats are decoded by decode_blocks, others are no weights
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dsv3::kernels
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
