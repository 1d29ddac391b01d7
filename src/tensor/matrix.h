#pragma once

#include <cstdint>

namespace dsv3 {

/// A view of float32 activations: `rows` rows of `cols` floats, `stride` floats apart. Does not
/// own.
struct Matrix {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  Matrix() = default;
  Matrix(float* d, int64_t r, int64_t c) : Matrix(d, r, c, c) {}
  Matrix(float* d, int64_t r, int64_t c, int64_t s) : data(d), rows(r), cols(c), stride(s) {}

  float* row(int64_t i) const { return data + i * stride; }
  /// Columns [begin, begin + count).
  Matrix columns(int64_t begin, int64_t count) const { return {data + begin, rows, count, stride}; }
  Matrix row_range(int64_t begin, int64_t end) const {
    return {row(begin), end - begin, cols, stride};
  }
};

}  // namespace dsv3
