// The steps of attention on tiles of DeepSeek-V3's latents (512 + 64 channels) and a group of 16
// rows, one thread. "pages": one stays in the caches, 2048 come from memory. flops count two for
// every key, channel and row.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels/attention/attention.h"

namespace dsv3::kernels {
namespace {

struct Free {
  void operator()(void* p) const { std::free(p); }
};
template <class T>
using Memory = std::unique_ptr<T[], Free>;
template <class T>
Memory<T> allocate(int64_t n) {
  auto* p = static_cast<T*>(std::aligned_alloc(64, (n * sizeof(T) + 127) / 64 * 64));
  std::fill_n(p, n, T{});
  return Memory<T>(p);
}

struct Data {
  LatentLayout layout;
  int64_t pages, page = 0;
  Memory<std::byte> latents;
  std::vector<float> rows;
  Memory<float> q = allocate<float>(640 * kLanes), s = allocate<float>(2 * kTileKeys * kLanes),
                p = allocate<float>(2 * kTileKeys * kLanes), o = allocate<float>(512 * kLanes),
                maximum = allocate<float>(kLanes), sum = allocate<float>(kLanes),
                correction = allocate<float>(kLanes);
  Memory<uint32_t> weights = allocate<uint32_t>(kTileKeys / 2 * kLanes);

  Data(DType dtype, int64_t n)
      : layout{.dtype = dtype, .rank = 512, .rope = 64},
        pages(n),
        latents(allocate<std::byte>(n * layout.page_bytes())),
        rows(kLanes * layout.width()) {
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i * 7919 % 512) / 256 - 1;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t t = 0; t < kPageTokens; ++t) store_latent(layout, at(i), t, rows.data());
    }
    const int64_t width = layout.width();
    auto* words = reinterpret_cast<uint32_t*>(q.get());
    if (dtype == DType::kF32) pack_rows_f32(rows.data(), width, 1, kLanes, width, q.get());
    if (dtype == DType::kBF16) pack_rows_bf16(rows.data(), width, 1, kLanes, width, words);
    if (dtype == DType::kI8) pack_rows_i8(layout, rows.data(), width, kLanes, words);
    std::fill_n(p.get(), 2 * kTileKeys * kLanes, 0.5f);
    std::fill_n(correction.get(), kLanes, 1.0f);
  }
  std::byte* at(int64_t i) { return latents.get() + i % pages * layout.page_bytes(); }
  template <class T>
  const T* rows_at(int64_t i) {
    return reinterpret_cast<const T*>(at(i));
  }

  void scores() {
    const auto* words = reinterpret_cast<const uint32_t*>(q.get());
    if (layout.dtype == DType::kF32) {
      scores_f32(rows_at<float>(page), 576, kTileKeys, 576, q.get(), false,
                 rows_at<float>(page + 1), s.get());
    } else if (layout.dtype == DType::kBF16) {
      scores_bf16(1, rows_at<uint16_t>(page), 576, kTileKeys, 576, words, 0, false,
                  rows_at<uint16_t>(page + 1), s.get());
    } else {
      scores_i8(layout, at(page), kTileKeys, words, at(page + 1), s.get());
    }
  }
  void values() {
    if (layout.dtype == DType::kF32) {
      values_f32(p.get(), kTileKeys, rows_at<float>(page), 576, 512, correction.get(), o.get());
    } else if (layout.dtype == DType::kBF16) {
      pack_weights_bf16(p.get(), kTileKeys, weights.get());
      values_bf16(1, weights.get(), 0, kTileKeys, rows_at<uint16_t>(page), 576, 512,
                  correction.get(), o.get());
    } else {
      const void* both[] = {at(page), at(page + 1)};
      values_i8(layout, both, 1, p.get(), 2 * kTileKeys, adaptive, correction.get(), o.get());
    }
  }
  bool runs() const {
    return layout.dtype == DType::kF32 || (layout.dtype == DType::kBF16 && has_attention_bf16()) ||
           (layout.dtype == DType::kI8 && has_attention_i8(layout));
  }
  bool adaptive = true;
};

template <class F>
void run(benchmark::State& state, Data& data, int64_t pages_a_step, int64_t channels, F&& step) {
  if (!data.runs()) return state.SkipWithError("not on this processor");
  for (auto _ : state) {
    step();
    data.page = (data.page + pages_a_step) % data.pages;
  }
  state.counters["flops"] = benchmark::Counter(
      static_cast<double>(state.iterations() * 2 * pages_a_step * kTileKeys * kLanes * channels),
      benchmark::Counter::kIsRate);
}

void scores(benchmark::State& state, DType dtype) {
  Data data(dtype, state.range(0));
  run(state, data, 1, 576, [&] { data.scores(); });
}
void values(benchmark::State& state, DType dtype, bool adaptive) {
  Data data(dtype, state.range(0));
  data.adaptive = adaptive;
  run(state, data, dtype == DType::kI8 ? 2 : 1, 512, [&] { data.values(); });
}
void softmax(benchmark::State& state) {
  Data data(DType::kF32, 1);
  for (auto _ : state) {
    softmax_lanes(data.s.get(), kTileKeys, data.maximum.get(), data.sum.get(),
                  data.correction.get());
  }
}

BENCHMARK_CAPTURE(scores, f32, DType::kF32)->ArgName("pages")->Arg(1)->Arg(2048);
BENCHMARK_CAPTURE(scores, bf16, DType::kBF16)->ArgName("pages")->Arg(1)->Arg(2048);
BENCHMARK_CAPTURE(scores, i8, DType::kI8)->ArgName("pages")->Arg(1)->Arg(2048);
BENCHMARK_CAPTURE(values, f32, DType::kF32, false)->ArgName("pages")->Arg(1);
BENCHMARK_CAPTURE(values, bf16, DType::kBF16, false)->ArgName("pages")->Arg(1);
BENCHMARK_CAPTURE(values, i8_weights_of_16_bits, DType::kI8, false)->ArgName("pages")->Arg(1);
BENCHMARK_CAPTURE(values, i8_weights_of_8_bits, DType::kI8, true)->ArgName("pages")->Arg(1);
BENCHMARK(softmax);

}  // namespace
}  // namespace dsv3::kernels
