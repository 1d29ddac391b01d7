#include "ops/norm.h"

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/elementwise/elementwise.h"

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

void add(Matrix x, Matrix y) {
  thread_pool().parallel_for(x.rows, [&](int64_t t) { kernels::add(x.row(t), x.cols, y.row(t)); });
}

}  // namespace dsv3::ops
