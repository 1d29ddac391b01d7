#include <algorithm>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/elementwise/elementwise.h"
#include "ops/linear.h"

namespace dsv3::ops {
namespace {

// Rows of dx, and rows and columns of dW, that are a task: what is packed for a product is used
// often enough, and a thread has several tasks.
constexpr int64_t kTokens = 256;
constexpr int64_t kOut = 192;
constexpr int64_t kIn = 1024;

int64_t tiles(int64_t n, int64_t tile) { return (n + tile - 1) / tile; }

}  // namespace

kernels::MatmulOperand operand(const LinearWeight& w) {
  const DType dtype = w.weight.dtype();
  if (dtype != DType::kF32 && dtype != DType::kBF16) {
    fail("training takes weights of F32 or BF16, not {}", dtype_name(dtype));
  }
  return {.data = w.weight.raw(), .bf16 = dtype == DType::kBF16, .stride = w.in_features()};
}

void linear_backward(Matrix x, const LinearWeight& w, Matrix dy, bool accumulate, Matrix dx,
                     LinearWeight& gradient) {
  const int64_t tokens = x.rows, in = w.in_features(), out = w.out_features();
  if (x.cols != in || dy.cols != out || dy.rows != tokens) {
    fail("linear_backward: [{}, {}] and a gradient of [{}, {}] for a weight [{}, {}]", x.rows,
         x.cols, dy.rows, dy.cols, out, in);
  }
  const kernels::MatmulPrecision precision = backward_precision(w);
  const kernels::MatmulOperand weight = operand(w);
  float* dw = gradient.weight.as_mutable<float>().data();
  float* db = gradient.bias.defined() ? gradient.bias.as_mutable<float>().data() : nullptr;

  const int64_t out_tiles = tiles(out, kOut), in_tiles = tiles(in, kIn);
  const int64_t weight_tasks = out_tiles * in_tiles;
  const int64_t input_tasks = dx.data == nullptr ? 0 : tiles(tokens, kTokens);
  thread_pool().parallel_for(weight_tasks + input_tasks, [&](int64_t task) {
    if (task >= weight_tasks) {  // dx = dy W
      const int64_t begin = (task - weight_tasks) * kTokens;
      const Matrix rows = dx.row_range(begin, std::min(tokens, begin + kTokens));
      kernels::matmul(precision, rows.rows, in, out,
                      operand(dy.row_range(begin, begin + rows.rows)), weight, accumulate,
                      rows.data, rows.stride);
      return;
    }
    // dW += dy^T x
    const int64_t row = task / in_tiles * kOut, col = task % in_tiles * kIn;
    const int64_t rows = std::min(kOut, out - row), cols = std::min(kIn, in - col);
    const Matrix g = dy.columns(row, rows);
    kernels::matmul(precision, rows, cols, tokens, transposed(operand(g)),
                    operand(x.columns(col, cols)), true, dw + row * in + col, in);
    if (db == nullptr || col > 0) return;
    for (int64_t t = 0; t < tokens; ++t) kernels::add(g.row(t), rows, db + row);
  });
}

}  // namespace dsv3::ops
