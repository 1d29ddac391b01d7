#include "ops/linear.h"

#include <algorithm>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/scratch.h"
#include "ops/packed_rows.h"

namespace dsv3::ops {

kernels::WeightView LinearWeight::view() const {
  kernels::WeightView v{.data = weight.raw(),
                        .rows = weight.dim(0),
                        .cols = weight.dim(1),
                        .row_stride = weight.dim(1)};
  v.format = weight.dtype();
  if (weight.dtype() == DType::kF8E4M3) {
    if (scale_inv.rank() != 2) fail("an FP8 weight without scales");
    v.scale = scale_inv.as<float>().data();
    v.scale_stride = scale_inv.dim(1);
    v.block_rows = block_rows;
    v.block_cols = block_cols;
  } else if (is_block_format(weight.dtype())) {
    const int64_t elements = dtype_block(weight.dtype()).elements;
    if (v.cols % elements != 0) {
      fail("a {} weight has rows of {}, expected a multiple of {}", dtype_name(weight.dtype()),
           v.cols, elements);
    }
  } else if (weight.dtype() != DType::kF32 && weight.dtype() != DType::kF16 &&
             weight.dtype() != DType::kBF16) {
    fail("a linear weight cannot be of type {}", dtype_name(weight.dtype()));
  }
  return v;
}

void fake_quantize(Matrix x, Activations activations, Matrix y) {
  thread_pool().parallel_for(x.rows, [&](int64_t i) {
    kernels::quantize_dequantize_e4m3(x.row(i), x.cols, kActivationGroup,
                                      activations == Activations::kFp8PowerOfTwo, y.row(i), nullptr,
                                      nullptr);
  });
}

void linear(Matrix x, const LinearWeight& w, Matrix y, Activations activations) {
  const kernels::WeightView view = w.view();
  if (x.cols != view.cols || y.cols != view.rows || x.rows != y.rows) {
    fail("linear: [{}, {}] times a weight [{}, {}] does not give [{}, {}]", x.rows, x.cols,
         view.rows, view.cols, y.rows, y.cols);
  }
  if (w.bias.defined() && w.bias.numel() != view.rows) {
    fail("linear: a bias of {} for {} output channels", w.bias.numel(), view.rows);
  }
  static thread_local kernels::Scratch quantised, packed;
  if (rounds_to_fp8(activations) && w.is_fp8()) {
    const Matrix q(quantised.get(x.rows * x.cols), x.rows, x.cols);
    fake_quantize(x, activations, q);
    x = q;
  }
  const kernels::RowForm form = row_form(activations, w, x.rows);
  PackedRows rows(form, x, x.rows, nullptr);
  if (kernels::is_packed(form)) {
    rows = PackedRows(form, x.rows, x.cols,
                      packed.get_bytes(kernels::packed_bytes(form, x.rows, x.cols)));
    rows.clear_padding();
    thread_pool().parallel_for(x.rows, [&](int64_t i) { rows.store(i, 0, x.cols, x.row(i)); });
  }
  // A few tasks a thread, so that none waits long for the last; whole cache lines of output. Few
  // rows wait for memory, which is read fastest in long stretches. Many rows are split too, as far
  // as decoding weights or packing them again for each part costs little.
  const bool matmul = form == kernels::RowForm::kMatmul, few = x.rows <= kernels::kFewRows;
  const int64_t least_rows = matmul ? 256 : 512;
  const int64_t parts =
      form == kernels::RowForm::kFloat32 ? 1 : std::max<int64_t>(1, x.rows / least_rows);
  const int64_t part_rows = (x.rows + parts * kernels::kPanelRows - 1) /
                            (parts * kernels::kPanelRows) * kernels::kPanelRows;
  const int64_t wanted = view.rows * (matmul ? parts : 1) / (4 * thread_pool().size());
  const int64_t tile = std::clamp<int64_t>(wanted / 32 * 32, 32, matmul || few ? 512 : 128);
  const int64_t tiles = (view.rows + tile - 1) / tile;
  const float* bias = w.bias.defined() ? w.bias.as<float>().data() : nullptr;
  thread_pool().parallel_for(parts * tiles, [&](int64_t task) {
    const int64_t begin = task % tiles * tile, end = std::min(view.rows, begin + tile);
    const int64_t first = task / tiles * part_rows, last = std::min(x.rows, first + part_rows);
    if (first >= last) return;
    const Matrix out = y.row_range(first, last);
    const PackedRows of_part = parts == 1 ? rows : rows.row_range(first, last);
    of_part.multiply(view.slice_rows(begin, end), out.data + begin, out.stride);
    if (bias == nullptr) return;
    for (int64_t i = 0; i < out.rows; ++i)
      kernels::add(bias + begin, end - begin, out.row(i) + begin);
  });
}

}  // namespace dsv3::ops
