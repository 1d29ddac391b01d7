#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "dsv3/tensor.h"

namespace dsv3 {

/// A tensor type of ggml. Numbers and names: ggml.h (enum ggml_type).
struct GgufTensorType {
  uint32_t number;
  std::string_view name;
  std::optional<DType> dtype;  ///< absent: not supported here
};

/// nullptr if ggml has no type of this number either.
const GgufTensorType* find_gguf_tensor_type(uint32_t number);

}  // namespace dsv3
