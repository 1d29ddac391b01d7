#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/thread_pool.h"
#include "dsv3/tensor.h"
#include "formats/convert.h"
#include "kernels/gemm/gemm.h"
#include "ops/linear.h"
#include "tensor/matrix.h"

// Helpers of the tests in this folder.
namespace dsv3::ops {

/// Half a unit in the last place of 1: the largest relative error of one float32 operation.
inline constexpr double kRounding = std::numeric_limits<float>::epsilon() / 2;

/// A matrix that owns its rows.
struct Rows {
  std::vector<float> data;
  int64_t rows, cols;

  Rows(int64_t r, int64_t c, float value = 0) : data(r * c, value), rows(r), cols(c) {}
  Matrix matrix() { return {data.data(), rows, cols}; }
  float at(int64_t r, int64_t c) const { return data[r * cols + c]; }
};

/// Random numbers from a fixed seed.
class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}

  float normal(float deviation = 1) {
    return std::normal_distribution<float>(0, deviation)(engine_);
  }
  int64_t integer(int64_t from, int64_t to) {
    return std::uniform_int_distribution<int64_t>(from, to)(engine_);
  }

  Rows rows(int64_t r, int64_t c, float deviation = 1) {
    Rows m(r, c);
    for (float& x : m.data) x = normal(deviation);
    return m;
  }
  Tensor tensor(Shape shape, float deviation = 1) {
    Tensor t = Tensor::empty(DType::kF32, std::move(shape));
    for (float& x : t.as_mutable<float>()) x = normal(deviation);
    return t;
  }
  /// A weight whose products with unit inputs have unit variance, F32 or BF16.
  LinearWeight weight(int64_t out, int64_t in, DType dtype = DType::kF32) {
    LinearWeight w;
    w.weight = formats::convert(tensor({out, in}, 1 / std::sqrt(static_cast<float>(in))), dtype);
    return w;
  }
  /// Every finite e4m3 code, with a scale of its own for every block.
  LinearWeight fp8_weight(int64_t out, int64_t in, int64_t block = 128) {
    LinearWeight w;
    w.block_rows = w.block_cols = block;
    w.weight = Tensor::empty(DType::kF8E4M3, {out, in});
    for (uint8_t& code : w.weight.as_mutable<uint8_t>()) {
      do code = static_cast<uint8_t>(integer(0, 255));
      while ((code & 0x7f) == 0x7f);
    }
    w.scale_inv = Tensor::empty(DType::kF32, {(out + block - 1) / block, (in + block - 1) / block});
    for (float& s : w.scale_inv.as_mutable<float>()) {
      s = static_cast<float>(integer(50, 150)) / 100 / 100 / std::sqrt(static_cast<float>(in));
    }
    return w;
  }

 private:
  std::mt19937 engine_;
};

/// The numbers that a weight stands for, [out, in].
inline Rows decoded(const LinearWeight& w) {
  Rows m(w.out_features(), w.in_features());
  kernels::decode_ref(w.view(), m.data.data(), m.cols);
  return m;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

/// Runs with so many threads until the end of the scope.
class ThreadCount {
 public:
  explicit ThreadCount(int threads) { set_num_threads(threads); }
  ~ThreadCount() { set_num_threads(0); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;
};

}  // namespace dsv3::ops
