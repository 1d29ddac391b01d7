// Decoding of the block formats, one thread: gigabytes of float32 written a second, and of blocks
// read ("read"), from memory that stays in the second-level cache. `scalar` is the definition.
#include <benchmark/benchmark.h>

#include <cmath>
#include <string>
#include <vector>

#include "formats/block_format.h"
#include "kernels/block_decode/block_decode.h"

namespace dsv3::kernels {
namespace {

void decode(benchmark::State& state, const formats::BlockFormat& format, bool scalar) {
  constexpr int64_t kElements = 32 * 1024;
  std::vector<float> x(kElements), out(kElements);
  for (int64_t i = 0; i < kElements; ++i) x[i] = std::sin(static_cast<float>(i));
  std::vector<uint8_t> blocks(dtype_bytes(format.dtype, kElements));
  format.encode(x.data(), kElements, nullptr, blocks.data());
  for (auto _ : state) {
    if (scalar) {
      format.decode(blocks.data(), kElements, out.data());
    } else {
      decode_blocks(format.dtype, blocks.data(), kElements, out.data());
    }
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * kElements * 4);
  state.counters["read"] = benchmark::Counter(
      static_cast<double>(state.iterations() * blocks.size()), benchmark::Counter::kIsRate);
}

const bool kRegistered = [] {
  for (const formats::BlockFormat& format : formats::block_formats()) {
    const std::string name(dtype_name(format.dtype));
    for (const bool scalar : {true, false}) {
      benchmark::RegisterBenchmark(
          ("decode/" + name + (scalar ? "/scalar" : "/vector")).c_str(),
          [&format, scalar](benchmark::State& state) { decode(state, format, scalar); });
    }
  }
  return true;
}();

}  // namespace
}  // namespace dsv3::kernels
