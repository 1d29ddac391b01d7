// Latent attention of one layer at the shapes of a 16-head model (kv_lora_rank 512, 64 rotary
// channels) and of DeepSeek-V3 (128 heads): decoding one token, and a chunk of a prompt, at some
// depth, on all threads. "keys" and "queries" count per layer; flops are those of scores and
// weighted sums in the form that is used, so that prompts in expanded form count the forming of
// keys and values too.
#include <benchmark/benchmark.h>

#include <random>

#include "base/thread_pool.h"
#include "formats/convert.h"
#include "ops/mla_attention.h"

namespace dsv3::ops {
namespace {

// Pages of some layers, so that a cache is read from memory, as a model does.
struct Caches {
  static constexpr int64_t kLayers = 4;
  std::vector<Tensor> pages;
  std::vector<const void*> pointers[kLayers];

  Caches(const LatentLayout& layout, int64_t n_keys) {
    std::mt19937 random(1);
    std::vector<float> row(layout.width());
    for (int64_t l = 0; l < kLayers; ++l) {
      for (int64_t k = 0; k < n_keys; k += kPageTokens) {
        Tensor page = Tensor::empty(DType::kU8, {layout.page_bytes()});
        for (int64_t t = 0; t < kPageTokens; ++t) {
          for (float& x : row) x = static_cast<float>(random() % 2001) / 1000 - 1;
          kernels::store_latent(layout, page.mutable_raw(), t, row.data());
        }
        pages.push_back(page);
        pointers[l].push_back(page.raw());
      }
    }
  }
};

void attention(benchmark::State& state, DType dtype, bool precise) {
  const int64_t heads = state.range(0), n_keys = state.range(1), n_queries = state.range(2);
  const MlaShape shape{.num_heads = heads,
                       .qk_nope_head_dim = 128,
                       .qk_rope_head_dim = 64,
                       .v_head_dim = 128,
                       .kv_lora_rank = 512,
                       .softmax_scale = 0.07f,
                       .precise = precise};
  const Caches caches({.dtype = dtype, .rank = 512, .rope = 64}, n_keys);
  std::mt19937 random(2);
  const auto numbers = [&](int64_t n, float scale) {
    std::vector<float> x(n);
    for (float& v : x) v = scale * (static_cast<float>(random() % 2001) / 1000 - 1);
    return x;
  };
  std::vector<float> q = numbers(n_queries * heads * shape.qk_head_dim(), 1);
  std::vector<float> out(n_queries * heads * shape.v_head_dim);
  LatentUpProjection up;
  const int64_t rows = heads * shape.kv_head_rows();
  up.kv_b_proj.weight =
      formats::convert(Tensor::from(numbers(rows * 512, 0.05f), {rows, 512}), DType::kBF16);
  int64_t layer = 0;
  for (auto _ : state) {
    MlaSequence s{
        .pages = caches.pointers[layer], .dtype = dtype, .n_keys = n_keys, .n_queries = n_queries};
    mla_attention(shape, MlaForm::kAuto, Matrix(q.data(), n_queries, heads * shape.qk_head_dim()),
                  up, std::span(&s, 1), Matrix(out.data(), n_queries, heads * shape.v_head_dim));
    layer = (layer + 1) % Caches::kLayers;
  }
  const auto pairs = static_cast<double>(n_queries) *
                     (static_cast<double>(n_keys) - static_cast<double>(n_queries) / 2) *
                     static_cast<double>(heads);
  const double macs = absorbed_is_cheaper(shape, n_queries, n_keys)
                          ? pairs * (576 + 512)
                          : pairs * 320 + static_cast<double>(n_keys * heads) * 512 * 256;
  state.counters["flops"] = benchmark::Counter(2 * macs * static_cast<double>(state.iterations()),
                                               benchmark::Counter::kIsRate);
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"heads", "keys", "queries"})->Unit(benchmark::kMillisecond)->UseRealTime();
  for (const int64_t keys : {128, 4096, 32768}) b->Args({16, keys, 1});
  b->Args({128, 4096, 1});
  for (const int64_t keys : {512, 4096, 32768}) b->Args({16, keys, 512});
}
BENCHMARK_CAPTURE(attention, f32, DType::kF32, false)->Apply(shapes);
BENCHMARK_CAPTURE(attention, bf16, DType::kBF16, false)->Apply(shapes);
BENCHMARK_CAPTURE(attention, i8, DType::kI8, false)->Apply(shapes);

}  // namespace
}  // namespace dsv3::ops
