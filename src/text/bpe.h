#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/piece_cache.h"
#include "text/vocabulary.h"

namespace dsv3 {

/// Tokens `left` and `right` become `merged`; lower ranks go first.
struct Merge {
  int32_t left, right, merged, rank;
};

struct BpeOptions {
  bool byte_level = true;      ///< pieces are bytes that GPT-2's letters stand for, not characters
  bool ignore_merges = false;  ///< a piece that is a token as a whole is that token
  bool byte_fallback = false;  ///< letters that are no token become "<0xC4>" tokens of their UTF-8
  bool fuse_unk = false;       ///< a row of unknown letters is one unknown token
  int64_t unk_id = -1;         ///< for a letter that is not in the vocabulary; -1: it is dropped
};

/// BPE: a piece starts as one token for each letter (a byte or a character); then, as long as two
/// neighbours have a merge, the one of the lowest rank is done, leftmost on a tie.
class Bpe {
 public:
  /// Memory that `encode` works in: one for each thread, reused from text to text.
  struct Scratch {
    PieceCache cache;
    std::vector<int32_t> ids, ranks, next, previous;
    std::vector<uint64_t> queue;
    std::string letters;
  };

  Bpe() = default;
  /// `vocabulary` holds the tokens of the model and no others yet.
  Bpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges, const BpeOptions& options);

  /// Appends the tokens of a piece (not empty). `vocabulary` is the one of the constructor.
  /// `allow_added` false: ignore_merges does not give a token that `is_added`.
  void encode(std::string_view piece, const Vocabulary& vocabulary,
              const std::vector<bool>& is_added, bool allow_added, Scratch& scratch,
              std::vector<int64_t>& ids) const {
    const PieceCache::Key key(piece);
    if (const PieceCache::Entry* entry = scratch.cache.find(key)) {
      ids.insert(ids.end(), entry->ids.begin(), entry->ids.begin() + entry->count);
    } else {
      encode_new(piece, key, vocabulary, is_added, allow_added, scratch, ids);
    }
  }

 private:
  static constexpr int32_t kNoRank = INT32_MAX;
  static constexpr int32_t kUnknown = -1;
  /// Pieces up to this many tokens are merged by looking at all pairs each time, which is quicker
  /// than a queue.
  static constexpr size_t kShort = 40;
  static constexpr int kFilterBits = 20;
  /// A merge in one word: left, right and rank, 21 bits each. Words are fewer bytes than structs,
  /// and looking merges up is bound by memory.
  static constexpr int kIdBits = 21;
  static constexpr uint64_t kNoSlot = ~uint64_t{0};
  static_assert(Vocabulary::kMaxId < (1 << kIdBits));

  static uint64_t pair_key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(left) << kIdBits | static_cast<uint32_t>(right);
  }
  static uint64_t hash(uint64_t key) { return (key ^ key >> 29) * 0x9E3779B97F4A7C15u; }
  void insert(const Merge& merge);
  /// The rank of the merge of two tokens, or kNoRank.
  int32_t rank_of(int32_t left, int32_t right) const {
    const uint64_t key = pair_key(left, right), h = hash(key);
    // Most pairs have no merge; a small table of bits says so for most of those.
    const uint64_t bit = h >> (64 - kFilterBits);
    if (!(filter_[bit >> 6] >> (bit & 63) & 1)) return kNoRank;
    for (size_t i = h >> shift_;; i = (i + 1) & (slots_.size() - 1)) {
      const uint64_t slot = slots_[i];
      if (slot >> kIdBits == key) return static_cast<int32_t>(slot & ((1 << kIdBits) - 1));
      if (slot == kNoSlot) return kNoRank;
    }
  }

  void encode_new(std::string_view piece, const PieceCache::Key& key, const Vocabulary& vocabulary,
                  const std::vector<bool>& is_added, bool allow_added, Scratch& scratch,
                  std::vector<int64_t>& ids) const;
  /// The tokens of the letters of a piece, and the ranks of the pairs that begin at each.
  void start(std::string_view piece, Scratch& scratch) const;
  void start_letters(std::string_view piece, std::vector<int32_t>& ids) const;
  /// Merges `count` tokens in place; returns how many are left.
  size_t merge_short(int32_t* ids, int32_t* ranks, size_t count) const;
  void merge_long(Scratch& scratch) const;

  void read_bytes(const Vocabulary& vocabulary);
  void read_characters(const Vocabulary& vocabulary);

  BpeOptions options_;
  std::array<int32_t, 256> byte_ids_ = {};  // byte level; or kUnknown; then perhaps:
  std::array<std::vector<int32_t>, 256> fallback_ids_;
  std::vector<int32_t> character_ids_;      // else; by code point, or kUnknown
  std::array<int32_t, 256> byte_tokens_ = {};  // "<0x00>" ... for fallback, or kUnknown
  // Where every byte is a token: ranks of pairs of bytes, which make up half of all that are asked.
  std::vector<int32_t> byte_pair_ranks_;
  std::vector<uint64_t> slots_;  // open addressing, a power of two
  std::vector<uint64_t> filter_;
  std::vector<int32_t> merged_;  // by rank
  int shift_ = 63;
};

}  // namespace dsv3
