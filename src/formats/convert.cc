#include "formats/convert.h"

#include <cstring>

#include "base/error.h"
#include "formats/float_formats.h"

namespace dsv3::formats {
namespace {

// Mapped tensors may be unaligned, so elements are read with memcpy.
template <typename Stored, typename Decode>
void decode_all(const Tensor& in, float* out, Decode decode) {
  const auto* bytes = static_cast<const std::byte*>(in.raw());
  for (int64_t i = 0; i < in.numel(); ++i) {
    Stored x;
    std::memcpy(&x, bytes + i * static_cast<int64_t>(sizeof(Stored)), sizeof(Stored));
    out[i] = decode(x);
  }
}

}  // namespace

Tensor to_f32(const Tensor& tensor) {
  if (tensor.dtype() == DType::kF32) return tensor;
  Tensor out = Tensor::empty(DType::kF32, tensor.shape());
  float* p = out.as_mutable<float>().data();
  switch (tensor.dtype()) {
    case DType::kF64:
      decode_all<double>(tensor, p, [](double x) { return static_cast<float>(x); });
      break;
    case DType::kF16:
      decode_all<uint16_t>(tensor, p, f16_to_float);
      break;
    case DType::kBF16:
      decode_all<uint16_t>(tensor, p, bf16_to_float);
      break;
    case DType::kF8E4M3:
      decode_all<uint8_t>(tensor, p, e4m3_to_float);
      break;
    case DType::kF8E8M0:
      decode_all<uint8_t>(tensor, p, e8m0_to_float);
      break;
    default:
      fail("expected a floating-point tensor, found {}", dtype_name(tensor.dtype()));
  }
  return out;
}

Tensor convert(const Tensor& tensor, DType to) {
  if (tensor.dtype() == to) return tensor;
  const Tensor wide = to_f32(tensor);
  if (to == DType::kF32) return wide;
  if (to != DType::kBF16) fail("cannot convert a tensor to {}", dtype_name(to));
  Tensor out = Tensor::empty(to, tensor.shape());
  const auto in = wide.as<float>();
  const auto result = out.as_mutable<uint16_t>();
  for (size_t i = 0; i < in.size(); ++i) result[i] = float_to_bf16(in[i]);
  return out;
}

}  // namespace dsv3::formats
