#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
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
  // GGUF's block formats, in which a run of elements along the last axis shares its scales. They
  // have no place in safetensors files. Source: ggml; layouts in src/formats.
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
};
inline constexpr int kDTypes = static_cast<int>(DType::kIQ4_XS) + 1;

/// How elements lie in memory: `bytes` for each run of `elements`, which is 1 for all but the block
/// formats. The last axis of a tensor is a whole number of runs.
struct DTypeBlock {
  int64_t elements = 1;
  size_t bytes = 0;
};
constexpr DTypeBlock dtype_block(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64:
      return {1, 8};
    case DType::kF32:
    case DType::kI32:
      return {1, 4};
    case DType::kF16:
    case DType::kBF16:
    case DType::kI16:
      return {1, 2};
    case DType::kF8E4M3:
    case DType::kF8E8M0:
    case DType::kI8:
    case DType::kU8:
    case DType::kBool:
      return {1, 1};
    case DType::kQ4_0:
    case DType::kIQ4_NL:
      return {32, 18};
    case DType::kQ4_1:
      return {32, 20};
    case DType::kQ5_0:
      return {32, 22};
    case DType::kQ5_1:
      return {32, 24};
    case DType::kQ8_0:
      return {32, 34};
    case DType::kQ2_K:
      return {256, 84};
    case DType::kQ3_K:
      return {256, 110};
    case DType::kQ4_K:
      return {256, 144};
    case DType::kQ5_K:
      return {256, 176};
    case DType::kQ6_K:
      return {256, 210};
    case DType::kIQ4_XS:
      return {256, 136};
  }
  return {};
}
constexpr bool is_block_format(DType dtype) { return dtype_block(dtype).elements > 1; }
/// Bytes of one element; throws Error for a block format.
size_t dtype_size(DType dtype);
/// Bytes of so many elements, a whole number of blocks.
inline size_t dtype_bytes(DType dtype, int64_t elements) {
  const DTypeBlock block = dtype_block(dtype);
  return static_cast<size_t>(elements / block.elements) * block.bytes;
}
/// The name in safetensors headers, "F32", "BF16", "F8_E4M3" ..., or GGUF's: "Q4_K" ...
std::string_view dtype_name(DType dtype);
/// The type of that name in any case ("bf16", "q4_k"); none if there is no such type.
std::optional<DType> dtype_from_name(std::string_view name);

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
  size_t bytes() const { return dtype_bytes(dtype_, numel()); }

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
