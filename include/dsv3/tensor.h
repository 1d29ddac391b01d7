#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dsv3 {

/// Element types, named as in safetensors headers.
enum class DType : uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kF8E4M3,  ///< 1 sign, 4 exponent, 3 mantissa bits; no infinity; largest value 448
  kF8E8M0,  ///< power of two (2^(x-127)), used as a scale
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool,
};

/// Bytes of one element.
size_t dtype_size(DType dtype);
/// The name in safetensors headers: "F32", "BF16", "F8_E4M3" ...
std::string_view dtype_name(DType dtype);

using Shape = std::vector<int64_t>;
/// "[2, 17, 256]"
std::string shape_string(const Shape& shape);

/// A dense, row-major, contiguous tensor. Copying it is cheap and shares the memory; `clone` copies
/// the elements. The memory is either owned (64-byte aligned) or kept alive by an owner object, for
/// example a mapped file (then it is read-only and aligned only as the file lays it out).
/// A default-constructed tensor is "absent": `defined()` is false.
class Tensor {
 public:
  Tensor() = default;
  /// Owned, zero-initialised.
  Tensor(DType dtype, Shape shape);
  /// Owned, not initialised.
  static Tensor empty(DType dtype, Shape shape);
  /// Memory of somebody else, kept alive by `owner`.
  static Tensor wrap(DType dtype, Shape shape, const void* data, std::shared_ptr<const void> owner);
  /// Owned copies of values. The shape's product must be `values.size()`.
  static Tensor from(std::span<const float> values, Shape shape);
  static Tensor from(std::span<const int64_t> values, Shape shape);
  static Tensor from(std::initializer_list<int64_t> values, Shape shape);

  bool defined() const { return data_ != nullptr || !shape_.empty(); }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int axis) const { return shape_[axis < 0 ? shape_.size() + axis : axis]; }
  int rank() const { return static_cast<int>(shape_.size()); }
  int64_t numel() const;
  size_t bytes() const { return static_cast<size_t>(numel()) * dtype_size(dtype_); }

  const void* raw() const { return data_; }
  void* mutable_raw() { return const_cast<void*>(data_); }
  /// The elements; throws Error if T is not this tensor's element type.
  template <typename T>
  std::span<const T> as() const;
  template <typename T>
  std::span<T> as_mutable();

  /// Deep copy.
  Tensor clone() const;
  /// The same memory under another shape with the same number of elements.
  Tensor reshape(Shape shape) const;
  /// Rows [begin, end) of the first axis, sharing memory.
  Tensor slice(int64_t begin, int64_t end) const;

 private:
  DType dtype_ = DType::kF32;
  Shape shape_;
  const void* data_ = nullptr;
  std::shared_ptr<const void> owner_;
};

}  // namespace dsv3
