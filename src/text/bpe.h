#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace dsv3 {

/// A merge of the file: tokens `left` and `right` become `merged`. Its place in the list is its rank.
struct Merge {
  int32_t left, right, merged;
};

struct BpeOptions {
  bool ignore_merges = false;  ///< a piece that is a token as a whole is that token
  bool byte_fallback = false;  ///< letters that are no token become "<0xC4>" tokens of their UTF-8
  bool fuse_unk = false;       ///< a row of unknown letters is one unknown token
  int64_t unk_id = -1;         ///< for a byte that is not in the vocabulary; -1: it is dropped
};

/// Byte-level BPE: a piece starts as one token for each byte; then, as long as two neighbours have a
/// merge, the one of the lowest rank is done, leftmost on a tie.
class Bpe {
 public:
  /// Memory that `encode` works in: one for each thread, reused from piece to piece.
  struct Scratch {
    std::vector<int32_t> ids, ranks, next, previous;
    std::vector<uint64_t> queue;
    std::string letters;
  };

  Bpe() = default;
  Bpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges, const BpeOptions& options);

  /// Appends the tokens of a piece. `vocabulary` is the one of the constructor; `is_added` says which
  /// ids ignore_merges must not give.
  void encode(std::string_view piece, const Vocabulary& vocabulary,
              const std::vector<bool>& is_added, Scratch& scratch,
              std::vector<int64_t>& ids) const;

 private:
  static constexpr int32_t kNoRank = INT32_MAX;
  static constexpr int32_t kEmpty = -1;
  static constexpr int32_t kUnknown = -1;
  struct Slot {
    int32_t left = kEmpty, right = 0, rank = 0, merged = 0;
  };

  size_t home(int32_t left, int32_t right) const {
    const uint64_t key = static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
    return key * 0x9E3779B97F4A7C15u >> shift_;
  }
  void insert(const Merge& merge, int32_t rank);
  /// The rank of the merge of two tokens, or kNoRank.
  int32_t rank_of(int32_t left, int32_t right) const;

  void start(std::string_view piece, std::vector<int32_t>& ids) const;
  void merge_short(Scratch& scratch) const;
  void merge_long(Scratch& scratch) const;

  BpeOptions options_;
  std::array<int32_t, 256> byte_ids_ = {};  // or kUnknown; then perhaps:
  std::array<std::vector<int32_t>, 256> fallback_ids_;
  std::vector<Slot> slots_;      // open addressing, a power of two
  std::vector<int32_t> merged_;  // by rank
  int shift_ = 63;
};

}  // namespace dsv3
