#include "ops/norm.h"

#include <algorithm>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/elementwise/elementwise_backward.h"
#include "kernels/scratch.h"

namespace dsv3::ops {

void rms_norm(Matrix x, const Tensor& weight, float eps, Matrix y) {
  if (weight.numel() != x.cols || y.cols != x.cols || y.rows != x.rows) {
    fail("rms_norm: [{}, {}] with a weight of {} does not give [{}, {}]", x.rows, x.cols,
         weight.numel(), y.rows, y.cols);
  }
  const float* w = weight.as<float>().data();
  thread_pool().parallel_for(
      x.rows, [&](int64_t t) { kernels::rms_norm(x.row(t), w, eps, x.cols, y.row(t)); });
}

void rms_norm_backward(Matrix x, const Tensor& weight, float eps, Matrix dy, bool accumulate,
                       Matrix dx, Tensor& dweight) {
  // Rows whose contributions to dweight are added up by themselves, so that the sum does not depend
  // on the number of threads.
  constexpr int64_t kRows = 128;
  static thread_local kernels::Scratch scratch;
  const float* w = weight.as<float>().data();
  const int64_t parts = (x.rows + kRows - 1) / kRows;
  float* sums = scratch.get(parts * x.cols);
  thread_pool().parallel_for(parts, [&](int64_t part) {
    float* sum = sums + part * x.cols;
    std::fill_n(sum, x.cols, 0.0f);
    const int64_t end = std::min(x.rows, (part + 1) * kRows);
    for (int64_t t = part * kRows; t < end; ++t) {
      kernels::rms_norm_backward(x.row(t), w, eps, dy.row(t), x.cols, accumulate, dx.row(t), sum);
    }
  });
  float* to = dweight.as_mutable<float>().data();
  for (int64_t part = 0; part < parts; ++part) kernels::add(sums + part * x.cols, x.cols, to);
}

void add(Matrix x, Matrix y) {
  thread_pool().parallel_for(x.rows, [&](int64_t t) { kernels::add(x.row(t), x.cols, y.row(t)); });
}

}  // namespace dsv3::ops
