#include "training/initialization.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "base/thread_pool.h"
#include "generation/random.h"

namespace dsv3::training {
namespace {

// FNV-1a: a number for a name that is the same everywhere.
uint64_t hash_of(const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// Four normally distributed numbers, by Box and Muller.
std::array<float, 4> normal4(uint64_t seed, uint64_t stream, uint64_t index) {
  const std::array<uint32_t, 4> words =
      generation::philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                              static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)},
                             {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  std::array<float, 4> values;
  for (size_t i = 0; i < 4; i += 2) {
    const double u = (words[i] + 0.5) * 0x1p-32, v = words[i + 1] * 0x1p-32;
    const double radius = std::sqrt(-2 * std::log(u)), angle = 2 * std::numbers::pi * v;
    values[i] = static_cast<float>(radius * std::cos(angle));
    values[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
  return values;
}

}  // namespace

void initialize(const DeepseekV3Config& config, uint64_t seed, Parameters& parameters) {
  for (const Parameter& p : parameters.all()) {
    float* to = parameters.masters().data() + p.begin;
    if (p.vector) {
      std::fill_n(to, p.count, p.name.ends_with(".bias") ? 0.0f : 1.0f);
      continue;
    }
    const uint64_t stream = hash_of(p.name);
    const auto deviation = static_cast<float>(config.initializer_range);
    constexpr int64_t kPart = 1 << 14;
    thread_pool().parallel_for((p.count + kPart - 1) / kPart, [&](int64_t part) {
      const int64_t end = std::min(p.count, (part + 1) * kPart);
      for (int64_t i = part * kPart; i < end; i += 4) {
        const std::array<float, 4> values = normal4(seed, stream, static_cast<uint64_t>(i / 4));
        for (int64_t j = i; j < std::min(end, i + 4); ++j) to[j] = deviation * values[j - i];
      }
    });
    if (p.name == "model.embed_tokens.weight" && config.pad_token_id) {
      std::fill_n(to + *config.pad_token_id * p.shape[1], p.shape[1], 0.0f);
    }
  }
  parameters.round_masters();
}

}  // namespace dsv3::training
