#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dsv3 {

/// How often each piece (what a pre-tokenizer makes of a text) comes: all that learning needs to
/// know of the text. Memory: the distinct pieces and 32 bytes each.
class PieceCounts {
 public:
  PieceCounts() : slots_(kFewest, kFree) {}

  /// A piece is not empty.
  void add(std::string_view piece, int64_t count = 1);
  void add(const PieceCounts& other);

  size_t size() const { return entries_.size(); }
  std::string_view piece(size_t i) const {
    return std::string_view(bytes_).substr(entries_[i].begin, entries_[i].length);
  }
  int64_t count(size_t i) const { return entries_[i].count; }

 private:
  static constexpr size_t kFewest = size_t{1} << 12;
  static constexpr uint32_t kFree = UINT32_MAX;
  struct Entry {
    uint64_t hash;
    size_t begin;
    int64_t count;
    uint32_t length;
  };

  void grow();

  std::string bytes_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;  // open addressing, a power of two
};

struct BpeTrainerOptions {
  int64_t num_tokens = 0;     ///< to learn, the 256 bytes included
  int64_t min_frequency = 2;  ///< pairs that come less often are not merged
};

/// A byte-level BPE. Tokens are numbered: the 256 bytes in the order of the letters that stand for
/// them (byte_level_letter), then those of merges as they were learnt.
struct LearnedBpe {
  std::vector<std::string> tokens;                  ///< their bytes
  std::vector<std::pair<int32_t, int32_t>> merges;  ///< numbers of tokens, the first learnt first
};

/// Merges the most frequent pair of neighbouring tokens, again and again, until there are
/// num_tokens or no pair comes min_frequency times. Among pairs that come equally often the one
/// with the smaller left token goes first, then the smaller right one; pairs that overlap (aaa) are
/// counted each and merged from the left. So does the BpeTrainer of Hugging Face's tokenizers with
/// all bytes as initial alphabet, so the merges are the same. Where two merges make the same bytes
/// they make one token. After Sennrich et al., "Neural machine translation of rare words with
/// subword units", ACL 2016. Time: n log n in the bytes of the distinct pieces.
/// Throws Error if num_tokens is under 256 or the pieces are 4 GB or more.
LearnedBpe learn_bpe(const PieceCounts& pieces, const BpeTrainerOptions& options);

}  // namespace dsv3
