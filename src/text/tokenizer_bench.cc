// Speed of encoding, decoding and loading. DSV3_DEEPSEEK_TOKENIZER names DeepSeek-V3's
// tokenizer.json and DSV3_BENCH_TEXT a text; without them the committed small tokenizer and a text
// made here are used.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/file.h"
#include "dsv3/tokenizer.h"

namespace dsv3 {
namespace {

std::string tokenizer_path() {
  const char* path = std::getenv("DSV3_DEEPSEEK_TOKENIZER");
  return path ? path : "tests/golden-text/mini-tokenizer.json";
}

std::string text() {
  if (const char* path = std::getenv("DSV3_BENCH_TEXT")) return read_file(path);
  std::string all;
  while (all.size() < 1'000'000) {
    all += "The quick brown fox jumps over the lazy dog, 12345 times. if (x != y) { return; }\n";
  }
  return all;
}

/// Parts of about 4 KB, cut between characters.
std::vector<std::string> parts(const std::string& all) {
  std::vector<std::string> cut;
  for (size_t begin = 0; begin < all.size();) {
    size_t end = std::min(all.size(), begin + 4096);
    while (end < all.size() && (all[end] & 0xC0) == 0x80) ++end;
    cut.push_back(all.substr(begin, end - begin));
    begin = end;
  }
  return cut;
}

void encode(benchmark::State& state) {
  const Tokenizer tokenizer = Tokenizer::from_file(tokenizer_path());
  const std::string all = text();
  const std::vector<std::string> cut = parts(all);
  for (auto _ : state) {
    for (const std::string& part : cut) benchmark::DoNotOptimize(tokenizer.encode(part));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(all.size()));
}
BENCHMARK(encode)->Unit(benchmark::kMillisecond);

void encode_batch(benchmark::State& state) {
  const Tokenizer tokenizer = Tokenizer::from_file(tokenizer_path());
  const std::string all = text();
  const std::vector<std::string> cut = parts(all);
  const std::vector<std::string_view> views(cut.begin(), cut.end());
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer.encode_batch(views));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(all.size()));
}
BENCHMARK(encode_batch)->Unit(benchmark::kMillisecond)->UseRealTime();

void decode(benchmark::State& state) {
  const Tokenizer tokenizer = Tokenizer::from_file(tokenizer_path());
  const std::string all = text();
  const std::vector<int64_t> ids = tokenizer.encode(all);
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer.decode(ids));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(all.size()));
}
BENCHMARK(decode)->Unit(benchmark::kMillisecond);

void load(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Tokenizer::from_file(tokenizer_path()));
}
BENCHMARK(load)->Unit(benchmark::kMillisecond);

/// A megabyte without a place to split.
void encode_worst(benchmark::State& state, const char* unit) {
  const Tokenizer tokenizer = Tokenizer::from_file(tokenizer_path());
  std::string all;
  while (all.size() < 1'000'000) all += unit;
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer.encode(all));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(all.size()));
}
BENCHMARK_CAPTURE(encode_worst, letters, "a")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode_worst, spaces, " ")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode_worst, emoji, "😀")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode_worst, han, "的一是不了在人有我")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode_worst, bytes, "\xFF\xC0")->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace dsv3
