#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace dsv3 {

/// The tokens of short pieces seen lately: words come back. A new piece takes the place of an older
/// one that has the same slot.
class PieceCache {
 public:
  static constexpr size_t kMaxBytes = 31;
  static constexpr size_t kMaxIds = 7;

  /// A piece as four words: its bytes, zeros, and its length in the last byte. A longer piece has
  /// no key: all zeros, which is no slot's.
  struct Key {
    explicit Key(std::string_view piece) {
      const size_t n = piece.size();
      const char* const p = piece.data();
      if (n - 1 >= kMaxBytes) return;
      if (n < 8) {
        words[0] = load_up_to_8(p, n);
      } else {
        size_t at = 0;
        for (; at + 8 <= n; at += 8) words[at / 8] = load(p + at);
        // The rest is the top of the last eight bytes.
        if (n % 8) words[at / 8] = load(p + n - 8) >> (64 - n % 8 * 8);
      }
      words[3] |= static_cast<uint64_t>(n) << 56;
    }

    bool empty() const { return words[3] == 0; }
    uint64_t hash() const {
      constexpr uint64_t kFactor = 0x9E3779B97F4A7C15u;
      uint64_t h = (words[0] ^ words[3]) * kFactor;
      h = (h ^ h >> 32 ^ words[1]) * kFactor;
      return (h ^ h >> 32 ^ words[2]) * kFactor;
    }

    std::array<uint64_t, 4> words = {};

   private:
    static uint64_t load(const char* p) {
      uint64_t word;
      std::memcpy(&word, p, 8);
      return word;
    }
    static uint64_t load_up_to_8(const char* p, size_t n) {
      if (n >= 4) {
        uint32_t low, high;
        std::memcpy(&low, p, 4);
        std::memcpy(&high, p + n - 4, 4);
        return low | static_cast<uint64_t>(high) << (n - 4) * 8;
      }
      const auto byte = [p](size_t i) { return static_cast<uint64_t>(static_cast<uint8_t>(p[i])); };
      return byte(0) | byte(n / 2) << n / 2 * 8 | byte(n - 1) << (n - 1) * 8;
    }
  };

  struct alignas(64) Entry {
    std::array<uint64_t, 4> words = {};
    int32_t count = 0;
    std::array<int32_t, kMaxIds> ids = {};
  };

  PieceCache() : entries_(size_t{1} << kBits) {}

  const Entry* find(const Key& key) const {
    const Entry& entry = entries_[key.hash() >> (64 - kBits)];
    // Written out, because == on arrays calls memcmp.
    const uint64_t different = (entry.words[0] ^ key.words[0]) | (entry.words[1] ^ key.words[1]) |
                               (entry.words[2] ^ key.words[2]) | (entry.words[3] ^ key.words[3]);
    return different == 0 && !key.empty() ? &entry : nullptr;
  }
  void put(const Key& key, std::span<const int32_t> ids) {
    if (key.empty() || ids.size() > kMaxIds) return;
    Entry& entry = entries_[key.hash() >> (64 - kBits)];
    entry.words = key.words;
    entry.count = static_cast<int32_t>(ids.size());
    std::copy(ids.begin(), ids.end(), entry.ids.begin());
  }

 private:
  static constexpr int kBits = 15;  // 2 MiB

  std::vector<Entry> entries_;
};

}  // namespace dsv3
