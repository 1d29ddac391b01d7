// Products of rounded activations at the shapes of DeepSeek-V3, one thread: weights a second (what
// bounds decoding) and operations a second (what bounds prompts). The weights stay in the caches.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "kernels/packed/packed_rows.h"

namespace dsv3::kernels {
namespace {

void packed_product(benchmark::State& state, DType format) {
  const int64_t m = state.range(0), k = state.range(1), rows = 512, tile = 32;
  // 0x11: small finite numbers in every format.
  std::vector<uint8_t> bytes(dtype_bytes(format, rows * k), 0x11);
  std::vector<float> scales((rows / 128) * ((k + 127) / 128), 1.0f), x(k, 0.5f), c(m * tile);
  const WeightView w{.format = format,
                     .data = bytes.data(),
                     .rows = rows,
                     .cols = k,
                     .row_stride = k,
                     .scale = scales.data(),
                     .scale_stride = (k + 127) / 128,
                     .block_rows = 128,
                     .block_cols = 128};
  const RowForm form = row_form(w, m);
  const std::unique_ptr<void, decltype(&std::free)> packed(
      std::aligned_alloc(64, packed_bytes(form, m, k) + 64), &std::free);
  std::vector<float> plain(m * k, 0.5f);
  if (is_packed(form)) {
    clear_padding(form, m, k, packed.get());
    for (int64_t i = 0; i < m; ++i) pack_channels(form, k, i, 0, k, x.data(), packed.get());
  }
  for (auto _ : state) {
    for (int64_t row = 0; row < rows; row += tile) {
      const WeightView some = w.slice_rows(row, row + tile);
      if (!is_packed(form)) {
        gemm_nt(m, {plain.data(), k}, some, c.data(), tile);
      } else {
        gemm_nt_packed(form, m, packed.get(), nullptr, some, c.data(), tile);
      }
    }
  }
  const auto weights = static_cast<double>(state.iterations() * rows * k);
  state.counters["weights"] = benchmark::Counter(weights, benchmark::Counter::kIsRate);
  state.counters["ops"] =
      benchmark::Counter(2 * weights * static_cast<double>(m), benchmark::Counter::kIsRate);
}

void shapes(benchmark::internal::Benchmark* b) {
  for (const int64_t k : {512, 2048, 7168}) {
    for (const int64_t m : {1, 2, 8, 16, 48, 512}) b->Args({m, k});
  }
}
BENCHMARK_CAPTURE(packed_product, bf16, DType::kBF16)->Apply(shapes);
BENCHMARK_CAPTURE(packed_product, e4m3, DType::kF8E4M3)->Apply(shapes);
BENCHMARK_CAPTURE(packed_product, q8_0, DType::kQ8_0)->Apply(shapes);
BENCHMARK_CAPTURE(packed_product, q6_k, DType::kQ6_K)->Apply(shapes);
BENCHMARK_CAPTURE(packed_product, q5_k, DType::kQ5_K)->Apply(shapes);
BENCHMARK_CAPTURE(packed_product, q4_k, DType::kQ4_K)->Apply(shapes);

}  // namespace
}  // namespace dsv3::kernels
