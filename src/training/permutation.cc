#include "training/permutation.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace dsv3::training {
namespace {

/// The output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
uint64_t mixed(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

}  // namespace

Permutation::Permutation(int64_t size, uint64_t seed, uint64_t stream)
    : size_(static_cast<uint64_t>(size)),
      half_bits_(std::max(1, (static_cast<int>(std::bit_width(size_ - 1)) + 1) / 2)) {
  assert(size >= 1);
  uint64_t key = mixed(mixed(seed) ^ stream);
  for (uint64_t& round : keys_) round = key = mixed(key);
}

int64_t Permutation::operator()(int64_t index) const {
  assert(index >= 0 && static_cast<uint64_t>(index) < size_);
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  auto place = static_cast<uint64_t>(index);
  do {
    uint64_t left = place >> half_bits_, right = place & mask;
    for (const uint64_t key : keys_) {
      const uint64_t next = left ^ (mixed(right ^ key) & mask);
      left = right;
      right = next;
    }
    place = left << half_bits_ | right;
  } while (place >= size_);
  return static_cast<int64_t>(place);
}

}  // namespace dsv3::training
