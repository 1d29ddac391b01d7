#pragma once

#include <cstdint>

namespace dsv3::training {

/// A seeded permutation of [0, size) in O(1) memory: a Feistel network over the next power of four,
/// walked along its cycle until it is back below `size` (Black and Rogaway, "Ciphers with arbitrary
/// finite domains", CT-RSA 2002). The same on every machine. For shuffling, not for secrets.
class Permutation {
 public:
  /// `size` from 1. Each pair of `seed` and `stream` is another permutation.
  Permutation(int64_t size, uint64_t seed, uint64_t stream);
  /// The place of `index` of [0, size). On average under four walks of a few operations.
  int64_t operator()(int64_t index) const;

 private:
  static constexpr int kRounds = 6;
  uint64_t size_;
  int half_bits_;
  uint64_t keys_[kRounds];
};

}  // namespace dsv3::training
