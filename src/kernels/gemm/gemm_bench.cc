// Matrix products at the shapes of DeepSeek-V3: bytes of weights read a second (what bounds
// decoding) and operations a second (what bounds prompts), one thread. The weights are larger than
// the caches.
#include <benchmark/benchmark.h>

#include <vector>

#include "kernels/gemm/gemm.h"

namespace dsv3::kernels {
namespace {

void gemm_nt(benchmark::State& state, DType format) {
  const int64_t m = state.range(0), k = state.range(1), tile = 32;
  WeightView w{.format = format, .rows = (256 << 20) / (k * 2), .cols = k, .row_stride = k};
  // 0x38: small finite numbers in every format.
  std::vector<uint8_t> bytes(dtype_bytes(format, w.rows * k), 0x38);
  w.data = bytes.data();
  std::vector<float> scales((w.rows / 128 + 1) * (k / 128 + 1), 1.0f), a(m * k, 0.5f), c(m * tile);
  w.scale = scales.data();
  w.scale_stride = k / 128;
  w.block_rows = w.block_cols = 128;
  int64_t row = 0;
  for (auto _ : state) {
    kernels::gemm_nt(m, {a.data(), k}, w.slice_rows(row, row + tile), c.data(), tile);
    row = row + 2 * tile > w.rows ? 0 : row + tile;
  }
  state.SetBytesProcessed(state.iterations() * dtype_bytes(format, tile * k));
  state.counters["flops"] = benchmark::Counter(
      static_cast<double>(state.iterations() * 2 * m * tile * k), benchmark::Counter::kIsRate);
}

void shapes(benchmark::internal::Benchmark* b) {
  for (const int64_t k : {512, 2048, 7168}) {
    for (const int64_t m : {1, 4, 16, 128}) b->Args({m, k});
  }
}
BENCHMARK_CAPTURE(gemm_nt, f32, DType::kF32)->Apply(shapes);
BENCHMARK_CAPTURE(gemm_nt, bf16, DType::kBF16)->Apply(shapes);
BENCHMARK_CAPTURE(gemm_nt, e4m3, DType::kF8E4M3)->Apply(shapes);
BENCHMARK_CAPTURE(gemm_nt, q8_0, DType::kQ8_0)->Apply(shapes);
BENCHMARK_CAPTURE(gemm_nt, q6_k, DType::kQ6_K)->Apply(shapes);
BENCHMARK_CAPTURE(gemm_nt, q4_k, DType::kQ4_K)->Apply(shapes);

}  // namespace
}  // namespace dsv3::kernels
