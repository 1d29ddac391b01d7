#include "dsv3/tensor.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <numeric>

#include "base/error.h"

namespace dsv3 {
namespace {

constexpr std::string_view kNames[] = {
    "F64",  "F32",  "F16",  "BF16", "F8_E4M3", "F8_E8M0", "I64",    "I32",
    "I16",  "I8",   "U8",   "BOOL", "Q4_0",    "Q4_1",    "Q5_0",   "Q5_1",
    "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K",    "Q6_K",    "IQ4_NL", "IQ4_XS",
};
static_assert(std::size(kNames) == kDTypes);

template <typename T>
bool holds(DType dtype) {
  if constexpr (std::is_same_v<T, double>) return dtype == DType::kF64;
  if constexpr (std::is_same_v<T, float>) return dtype == DType::kF32;
  if constexpr (std::is_same_v<T, int64_t>) return dtype == DType::kI64;
  if constexpr (std::is_same_v<T, int32_t>) return dtype == DType::kI32;
  if constexpr (std::is_same_v<T, uint16_t>) return dtype == DType::kF16 || dtype == DType::kBF16;
  if constexpr (std::is_same_v<T, uint8_t>) {
    const DTypeBlock block = dtype_block(dtype);
    return block.elements == 1 && block.bytes == 1;
  }
  return false;
}

}  // namespace

size_t dtype_size(DType dtype) {
  if (is_block_format(dtype)) fail("single elements of {} have no size", dtype_name(dtype));
  return dtype_block(dtype).bytes;
}
std::string_view dtype_name(DType dtype) { return kNames[static_cast<size_t>(dtype)]; }

std::optional<DType> dtype_from_name(std::string_view name) {
  const auto equal = [](char a, char b) {
    return std::toupper(static_cast<unsigned char>(a)) == static_cast<unsigned char>(b);
  };
  for (int i = 0; i < kDTypes; ++i) {
    if (std::ranges::equal(name, kNames[i], equal)) return static_cast<DType>(i);
  }
  return std::nullopt;
}

std::string shape_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

Tensor Tensor::empty(DType dtype, Shape shape) {
  Tensor t;
  t.dtype_ = dtype;
  t.shape_ = std::move(shape);
  const size_t bytes = (t.bytes() + 63) / 64 * 64;
  void* p = std::aligned_alloc(64, bytes == 0 ? 64 : bytes);
  if (p == nullptr) {
    fail("out of memory: {} bytes for a {} tensor {}", t.bytes(), dtype_name(dtype),
         shape_string(t.shape_));
  }
  t.owner_ = std::shared_ptr<const void>(p, [](const void* q) { std::free(const_cast<void*>(q)); });
  t.data_ = p;
  return t;
}

Tensor::Tensor(DType dtype, Shape shape) {
  *this = empty(dtype, std::move(shape));
  std::memset(mutable_raw(), 0, bytes());
}

Tensor Tensor::wrap(DType dtype, Shape shape, const void* data, std::shared_ptr<const void> owner) {
  Tensor t;
  t.dtype_ = dtype;
  t.shape_ = std::move(shape);
  t.data_ = data;
  t.owner_ = std::move(owner);
  return t;
}

namespace {
template <typename T>
Tensor copy_of(DType dtype, std::span<const T> values, Shape shape) {
  Tensor t = Tensor::empty(dtype, std::move(shape));
  if (t.numel() != static_cast<int64_t>(values.size())) {
    fail("{} values do not fill a tensor of shape {}", values.size(), shape_string(t.shape()));
  }
  if (!values.empty()) std::memcpy(t.mutable_raw(), values.data(), values.size_bytes());
  return t;
}
}  // namespace

Tensor Tensor::from(std::span<const float> values, Shape shape) {
  return copy_of(DType::kF32, values, std::move(shape));
}
Tensor Tensor::from(std::span<const int64_t> values, Shape shape) {
  return copy_of(DType::kI64, values, std::move(shape));
}
Tensor Tensor::from(std::initializer_list<int64_t> values, Shape shape) {
  return from(std::span(values.begin(), values.size()), std::move(shape));
}

int64_t Tensor::numel() const {
  return std::accumulate(shape_.begin(), shape_.end(), int64_t{1}, std::multiplies<>());
}

template <typename T>
std::span<const T> Tensor::as() const {
  if (!holds<T>(dtype_)) fail("a {} tensor read as another type", dtype_name(dtype_));
  return {static_cast<const T*>(data_), static_cast<size_t>(numel())};
}
template <typename T>
std::span<T> Tensor::as_mutable() {
  const auto elements = as<T>();
  return {const_cast<T*>(elements.data()), elements.size()};
}

#define DSV3_INSTANTIATE(T)                       \
  template std::span<const T> Tensor::as() const; \
  template std::span<T> Tensor::as_mutable();
DSV3_INSTANTIATE(double)
DSV3_INSTANTIATE(float)
DSV3_INSTANTIATE(int64_t)
DSV3_INSTANTIATE(int32_t)
DSV3_INSTANTIATE(uint16_t)
DSV3_INSTANTIATE(uint8_t)
#undef DSV3_INSTANTIATE

Tensor Tensor::clone() const {
  Tensor t = empty(dtype_, shape_);
  if (bytes() > 0) std::memcpy(t.mutable_raw(), data_, bytes());
  return t;
}

Tensor Tensor::reshape(Shape shape) const {
  Tensor t = *this;
  t.shape_ = std::move(shape);
  if (t.numel() != numel()) {
    fail("cannot reshape {} to {}", shape_string(shape_), shape_string(t.shape_));
  }
  return t;
}

Tensor Tensor::slice(int64_t begin, int64_t end) const {
  if (shape_.empty() || begin < 0 || end < begin || end > shape_[0]) {
    fail("rows [{}, {}) are not in a tensor of shape {}", begin, end, shape_string(shape_));
  }
  Tensor t = *this;
  t.shape_[0] = end - begin;
  const int64_t row = shape_[0] == 0 ? 0 : numel() / shape_[0];
  t.data_ = static_cast<const std::byte*>(data_) + dtype_bytes(dtype_, begin * row);
  return t;
}

}  // namespace dsv3
