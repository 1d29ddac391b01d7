#include "text/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstring>
#include <numeric>
#include <queue>
#include <unordered_map>

#include "base/error.h"
#include "text/byte_level.h"

namespace dsv3 {
namespace {

constexpr uint64_t kFactor = 0x9E3779B97F4A7C15u;

uint64_t hash_of(std::string_view piece) {
  uint64_t hash = piece.size() * kFactor;
  const char* p = piece.data();
  size_t left = piece.size();
  for (; left >= 8; p += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    hash = (std::rotl(hash, 29) ^ word) * kFactor;
  }
  uint64_t word = 0;
  if (left > 0) std::memcpy(&word, p, left);
  hash = (std::rotl(hash, 29) ^ word) * kFactor;
  return hash ^ hash >> 32;
}

using Place = uint32_t;

/// Two tokens that stand side by side; as a number, smaller left ones come first.
uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

/// Counts and places of pairs, by open addressing.
class PairTable {
 public:
  struct Pair {
    uint64_t key = kFree;
    int64_t count = 0;
    std::vector<Place> places;  // of the left token; some may be past
  };

  PairTable() : pairs_(size_t{1} << 16) {}

  Pair& operator[](uint64_t key) {
    size_t i = slot_of(key);
    if (pairs_[i].key == kFree) {
      if (++used_ * 2 > pairs_.size()) {
        grow();
        i = slot_of(key);
      }
      pairs_[i].key = key;
    }
    return pairs_[i];
  }
  template <typename F>
  void for_each(F&& f) const {
    for (const Pair& pair : pairs_) {
      if (pair.key != kFree) f(pair);
    }
  }

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};

  size_t slot_of(uint64_t key) const {
    const size_t mask = pairs_.size() - 1;
    size_t i = (key ^ key >> 29) * kFactor >> 24 & mask;
    while (pairs_[i].key != key && pairs_[i].key != kFree) i = (i + 1) & mask;
    return i;
  }
  void grow() {
    std::vector<Pair> old(pairs_.size() * 2);
    old.swap(pairs_);
    for (Pair& pair : old) {
      if (pair.key != kFree) pairs_[slot_of(pair.key)] = std::move(pair);
    }
  }

  std::vector<Pair> pairs_;
  size_t used_ = 0;
};

/// The pieces as tokens, side by side with a wall before each and after the last. A token stands
/// where its first byte stands, so its neighbours are found by lengths.
class Text {
 public:
  static constexpr int32_t kWall = -1;
  static constexpr int32_t kGone = -2;  // part of the token before

  Text(const PieceCounts& pieces, const std::array<int32_t, 256>& token_of_byte) {
    size_t size = 1;
    for (size_t i = 0; i < pieces.size(); ++i) size += pieces.piece(i).size() + 1;
    if (size > UINT32_MAX) {
      fail("{} bytes of distinct pieces of text, expected less than {}; give less text", size,
           UINT32_MAX);
    }
    tokens_.reserve(size);
    piece_of_.reserve(size);
    tokens_.push_back(kWall);
    piece_of_.push_back(0);
    for (size_t i = 0; i < pieces.size(); ++i) {
      counts_.push_back(pieces.count(i));
      for (const char c : pieces.piece(i))
        tokens_.push_back(token_of_byte[static_cast<uint8_t>(c)]);
      tokens_.push_back(kWall);
      piece_of_.resize(tokens_.size(), static_cast<uint32_t>(i));
    }
    begins_.resize(size);
    std::iota(begins_.begin(), begins_.end(), Place{0});
  }

  Place size() const { return static_cast<Place>(tokens_.size()); }
  int32_t token(Place place) const { return tokens_[place]; }
  int64_t count(Place place) const { return counts_[piece_of_[place]]; }
  /// Where the token before the one at `place` begins.
  Place previous(Place place) const { return begins_[place - 1]; }

  /// Puts `token`, of `length` bytes, in the place of the tokens at `place` and `second`.
  void merge(Place place, Place second, int32_t token, Place length) {
    tokens_[place] = token;
    tokens_[second] = kGone;
    begins_[place + length - 1] = place;
  }

 private:
  std::vector<int32_t> tokens_;     // by place
  std::vector<uint32_t> piece_of_;  // by place
  std::vector<Place> begins_;       // of the token whose last byte is at a place
  std::vector<int64_t> counts_;     // by piece
};

class Trainer {
 public:
  Trainer(const PieceCounts& pieces, const BpeTrainerOptions& options)
      : options_(options), text_(pieces, number_bytes()) {}

  LearnedBpe run() {
    for (Place at = 1; at + 1 < text_.size(); ++at) {
      if (text_.token(at) != Text::kWall && text_.token(at + 1) != Text::kWall) {
        add_pair(text_.token(at), text_.token(at + 1), at);
      }
    }
    touched_.clear();
    pairs_.for_each([&](const PairTable::Pair& pair) { queue_.push({pair.count, pair.key}); });
    while (static_cast<int64_t>(bpe_.tokens.size()) < options_.num_tokens && !queue_.empty()) {
      const Candidate best = queue_.top();
      queue_.pop();
      // Counts have gone down since it was put in: it goes back to where it belongs.
      const int64_t count = pairs_[best.key].count;
      if (count != best.count) {
        if (count > 0) queue_.push({count, best.key});
        continue;
      }
      if (count < std::max<int64_t>(1, options_.min_frequency)) break;
      merge(best.key);
    }
    return std::move(bpe_);
  }

 private:
  struct Candidate {
    int64_t count;
    uint64_t key;
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : key > other.key;
    }
  };

  /// Makes the tokens of bytes, and says which is whose.
  std::array<int32_t, 256> number_bytes() {
    std::array<uint8_t, 256> bytes;
    std::iota(bytes.begin(), bytes.end(), uint8_t{0});
    std::sort(bytes.begin(), bytes.end(),
              [](uint8_t a, uint8_t b) { return byte_level_letter(a) < byte_level_letter(b); });
    std::array<int32_t, 256> token_of_byte;
    for (const uint8_t byte : bytes) {
      token_of_byte[byte] = static_cast<int32_t>(bpe_.tokens.size());
      bpe_.tokens.emplace_back(1, static_cast<char>(byte));
    }
    return token_of_byte;
  }

  Place length(int32_t token) const {
    return static_cast<Place>(bpe_.tokens[static_cast<size_t>(token)].size());
  }

  void add_pair(int32_t left, int32_t right, Place place) {
    PairTable::Pair& pair = pairs_[pair_key(left, right)];
    pair.count += text_.count(place);
    pair.places.push_back(place);
    touched_.push_back(pair.key);
  }
  void remove_pair(int32_t left, int32_t right, Place place) {
    pairs_[pair_key(left, right)].count -= text_.count(place);
  }

  /// The token that two become: a new one, unless its bytes are one already.
  int32_t token_of(int32_t left, int32_t right) {
    std::string bytes = bpe_.tokens[static_cast<size_t>(left)];
    bytes += bpe_.tokens[static_cast<size_t>(right)];
    const auto [found, is_new] =
        merged_.try_emplace(bytes, static_cast<int32_t>(bpe_.tokens.size()));
    if (is_new) bpe_.tokens.push_back(std::move(bytes));
    return found->second;
  }

  void merge(uint64_t key) {
    const auto left = static_cast<int32_t>(key >> 32), right = static_cast<int32_t>(key);
    const int32_t merged = token_of(left, right);
    bpe_.merges.emplace_back(left, right);
    std::vector<Place> places;
    places.swap(pairs_[key].places);
    // From left to right. They are in order already, but for tokens that several merges make.
    if (!std::is_sorted(places.begin(), places.end())) std::sort(places.begin(), places.end());
    touched_.clear();
    for (const Place place : places) {
      const Place second = place + length(left);
      if (text_.token(place) != left || text_.token(second) != right) continue;
      const Place before = text_.previous(place), after = second + length(right);
      const int32_t token_before = text_.token(before), token_after = text_.token(after);
      text_.merge(place, second, merged, length(merged));
      if (token_before != Text::kWall) {
        remove_pair(token_before, left, before);
        add_pair(token_before, merged, before);
      }
      if (token_after != Text::kWall) {
        remove_pair(right, token_after, second);
        add_pair(merged, token_after, place);
      }
    }
    pairs_[key].count = 0;
    std::sort(touched_.begin(), touched_.end());
    touched_.erase(std::unique(touched_.begin(), touched_.end()), touched_.end());
    for (const uint64_t pair : touched_) {
      if (const int64_t count = pairs_[pair].count; count > 0) queue_.push({count, pair});
    }
  }

  BpeTrainerOptions options_;
  LearnedBpe bpe_;
  Text text_;  // after bpe_, whose first tokens it needs
  PairTable pairs_;
  std::priority_queue<Candidate> queue_;
  std::vector<uint64_t> touched_;                    // pairs that a merge has made
  std::unordered_map<std::string, int32_t> merged_;  // by bytes
};

}  // namespace

void PieceCounts::add(std::string_view piece, int64_t count) {
  assert(!piece.empty() && piece.size() <= UINT32_MAX);
  const uint64_t hash = hash_of(piece);
  for (size_t i = hash & (slots_.size() - 1);; i = (i + 1) & (slots_.size() - 1)) {
    if (slots_[i] == kFree) {
      slots_[i] = static_cast<uint32_t>(entries_.size());
      entries_.push_back({hash, bytes_.size(), count, static_cast<uint32_t>(piece.size())});
      bytes_ += piece;
      if (entries_.size() * 2 > slots_.size()) grow();
      return;
    }
    Entry& entry = entries_[slots_[i]];
    if (entry.hash == hash && entry.length == piece.size() &&
        std::memcmp(bytes_.data() + entry.begin, piece.data(), piece.size()) == 0) {
      entry.count += count;
      return;
    }
  }
}

void PieceCounts::add(const PieceCounts& other) {
  for (size_t i = 0; i < other.size(); ++i) add(other.piece(i), other.count(i));
}

void PieceCounts::grow() {
  if (entries_.size() >= kFree / 2) fail("too many distinct pieces of text; give less text");
  slots_.assign(slots_.size() * 2, kFree);
  for (size_t e = 0; e < entries_.size(); ++e) {
    size_t i = entries_[e].hash & (slots_.size() - 1);
    while (slots_[i] != kFree) i = (i + 1) & (slots_.size() - 1);
    slots_[i] = static_cast<uint32_t>(e);
  }
}

LearnedBpe learn_bpe(const PieceCounts& pieces, const BpeTrainerOptions& options) {
  if (options.num_tokens < 256) {
    fail("{} tokens to learn, expected at least the 256 bytes", options.num_tokens);
  }
  return Trainer(pieces, options).run();
}

}  // namespace dsv3
