#include "ops/embedding.h"

#include "base/error.h"
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

}  // namespace dsv3::ops
