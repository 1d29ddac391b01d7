// The products of training on one core: operations a second and their share of what the core does
// when it only multiplies in registers. y = x W^T, dx = dy W and dW += dy^T x for `tokens` rows, a
// layer of `in` to `out` channels; activations in float32, weights in bfloat16, as the trainer has
// them.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "kernels/matmul/matmul.h"
#include "kernels/variants.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "hwy/base.h"  // HWY_PUSH_ATTRIBUTES
#endif

namespace dsv3::kernels {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

#if defined(__x86_64__)
HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")

// As many independent sums as hide an instruction's latency.
constexpr int kSums = 24;
constexpr int64_t kRounds = 1 << 19;

double f32_flops() {
  __m512 sum[kSums], x = _mm512_set1_ps(1.0f), y = _mm512_set1_ps(0.5f);
#pragma GCC unroll 24
  for (int s = 0; s < kSums; ++s) sum[s] = _mm512_setzero_ps();
  const double start = seconds();
  for (int64_t i = 0; i < kRounds; ++i) {
#pragma GCC unroll 24
    for (int s = 0; s < kSums; ++s) sum[s] = _mm512_fmadd_ps(x, y, sum[s]);
    asm volatile("" : "+v"(x), "+v"(y));
  }
  const double taken = seconds() - start;
#pragma GCC unroll 24
  for (int s = 0; s < kSums; ++s) x = _mm512_add_ps(x, sum[s]);
  benchmark::DoNotOptimize(x);
  return kRounds * kSums * 32.0 / taken;
}

double bf16_flops() {
  __m512 sum[kSums];
  __m512i x = _mm512_set1_epi32(0x3f803f80), y = x;  // ones
#pragma GCC unroll 24
  for (int s = 0; s < kSums; ++s) sum[s] = _mm512_setzero_ps();
  const double start = seconds();
  for (int64_t i = 0; i < kRounds; ++i) {
    __m512bh xs, ys;
    std::memcpy(&xs, &x, 64);
    std::memcpy(&ys, &y, 64);
#pragma GCC unroll 24
    for (int s = 0; s < kSums; ++s) sum[s] = _mm512_dpbf16_ps(sum[s], xs, ys);
    asm volatile("" : "+v"(x), "+v"(y));
  }
  const double taken = seconds() - start;
#pragma GCC unroll 24
  for (int s = 1; s < kSums; ++s) sum[0] = _mm512_add_ps(sum[0], sum[s]);
  benchmark::DoNotOptimize(sum[0]);
  return kRounds * kSums * 64.0 / taken;
}

HWY_POP_ATTRIBUTES
#endif

// Operations a second in registers; 0: not known for this processor. The best of some tries, since
// a virtual machine's core is not always all there.
double peak(MatmulPrecision precision) {
  double best = 0;
#if defined(__x86_64__)
  if (current_features().avx512_bf16) {
    for (int i = 0; i < 20; ++i) {
      best = std::max(best, precision == MatmulPrecision::kFloat32 ? f32_flops() : bf16_flops());
    }
  }
#endif
  return best;
}

enum class Direction : uint8_t { kForward, kInput, kWeight };

void matmul_product(benchmark::State& state, Direction direction, MatmulPrecision precision) {
  const int64_t tokens = state.range(0), in = state.range(1), out = state.range(2);
  const std::vector<float> x(tokens * in, 0.5f), dy(tokens * out, 0.5f);
  std::vector<float> result(std::max({tokens * in, tokens * out, in * out}));
  const std::vector<float> w(out * in, 0.5f);
  const std::vector<uint16_t> narrow(out * in, 0x3f00);
  const bool bf16 = precision == MatmulPrecision::kBFloat16;
  MatmulOperand weight{.data = w.data(), .stride = in};
  if (bf16) weight = {.data = narrow.data(), .bf16 = true, .stride = in};
  const double limit = peak(precision);  // here and now: the clock changes
  double best = 1e9;
  for (auto _ : state) {
    const double start = seconds();
    switch (direction) {
      case Direction::kForward: {
        MatmulOperand wt = weight;
        wt.transposed = true;
        matmul(precision, tokens, out, in, {.data = x.data(), .stride = in}, wt, false,
               result.data(), out);
        break;
      }
      case Direction::kInput:
        matmul(precision, tokens, in, out, {.data = dy.data(), .stride = out}, weight, false,
               result.data(), in);
        break;
      case Direction::kWeight:
        matmul(precision, out, in, tokens, {.data = dy.data(), .stride = out, .transposed = true},
               {.data = x.data(), .stride = in}, true, result.data(), in);
        break;
    }
    best = std::min(best, seconds() - start);
  }
  const double flops = 2.0 * static_cast<double>(tokens * in * out);
  state.counters["GFLOPS"] = benchmark::Counter(
      flops * static_cast<double>(state.iterations()) / 1e9, benchmark::Counter::kIsRate);
  state.counters["best"] = flops / best / 1e9;
  if (limit > 0) state.counters["peak"] = limit / 1e9;
  if (limit > 0) state.counters["share"] = flops / best / limit;
}

struct Shape {
  int64_t tokens, in, out;
};
constexpr Shape kShapes[] = {
    {8, 512, 512},    {32, 512, 512},    {64, 48, 256},     {256, 64, 32},     {128, 96, 192},
    {128, 256, 256},  {256, 128, 384},   {256, 256, 256},   {256, 512, 512},   {256, 4096, 512},
    {1024, 96, 256},  {1024, 192, 1024}, {1024, 256, 256},  {1024, 512, 2048}, {1024, 1024, 1024},
    {4096, 128, 512}, {4096, 512, 192},  {4096, 256, 4096}, {2048, 2048, 1408}};
void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"tokens", "in", "out"});
  for (const Shape& s : kShapes) b->Args({s.tokens, s.in, s.out});
}
using enum Direction;
using enum MatmulPrecision;
BENCHMARK_CAPTURE(matmul_product, f32_y, kForward, kFloat32)->Apply(shapes);
BENCHMARK_CAPTURE(matmul_product, f32_dx, kInput, kFloat32)->Apply(shapes);
BENCHMARK_CAPTURE(matmul_product, f32_dw, kWeight, kFloat32)->Apply(shapes);
BENCHMARK_CAPTURE(matmul_product, bf16_y, kForward, kBFloat16)->Apply(shapes);
BENCHMARK_CAPTURE(matmul_product, bf16_dx, kInput, kBFloat16)->Apply(shapes);
BENCHMARK_CAPTURE(matmul_product, bf16_dw, kWeight, kBFloat16)->Apply(shapes);

}  // namespace
}  // namespace dsv3::kernels
