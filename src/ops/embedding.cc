#include "ops/embedding.h"

#include <algorithm>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/gemm/gemm.h"

namespace dsv3::ops {

void embed(std::span<const int64_t> ids, const LinearWeight& table, Matrix y) {
  const kernels::WeightView view = table.view();
  if (y.rows != static_cast<int64_t>(ids.size()) || y.cols != view.cols) {
    fail("embed: {} tokens of a table [{}, {}] do not fill [{}, {}]", ids.size(), view.rows,
         view.cols, y.rows, y.cols);
  }
  for (size_t t = 0; t < ids.size(); ++t) {
    if (ids[t] < 0 || ids[t] >= view.rows) {
      fail("token id {} at index {} is outside of the vocabulary [0, {})", ids[t], t, view.rows);
    }
    kernels::decode(view.slice_rows(ids[t], ids[t] + 1), y.row(static_cast<int64_t>(t)), view.cols);
  }
}

void embed_backward(std::span<const int64_t> ids, Matrix dy, int64_t padding_id,
                    LinearWeight& gradient) {
  // By ranges of channels: tokens may be equal, and their order is that of the sum.
  constexpr int64_t kChannels = 64;
  float* table = gradient.weight.as_mutable<float>().data();
  thread_pool().parallel_for((dy.cols + kChannels - 1) / kChannels, [&](int64_t part) {
    const int64_t begin = part * kChannels, n = std::min(kChannels, dy.cols - begin);
    for (size_t t = 0; t < ids.size(); ++t) {
      if (ids[t] == padding_id) continue;
      kernels::add(dy.row(static_cast<int64_t>(t)) + begin, n, table + ids[t] * dy.cols + begin);
    }
  });
}

}  // namespace dsv3::ops
