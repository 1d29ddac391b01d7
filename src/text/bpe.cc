#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/utf8.h"

namespace dsv3 {

Bpe::Bpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges,
         const BpeOptions& options)
    : options_(options), filter_((size_t{1} << kFilterBits) / 64) {
  byte_tokens_.fill(kUnknown);
  if (options.byte_fallback) {
    for (int b = 0; b < 256; ++b) {
      const auto id = vocabulary.find(fmt::format("<0x{:02X}>", b));
      if (id) byte_tokens_[b] = static_cast<int32_t>(*id);
    }
  }
  if (options.byte_level) read_bytes(vocabulary);
  else read_characters(vocabulary);

  const size_t slots = std::bit_ceil(2 * merges.size() + 2);
  if (merges.size() > size_t{1} << kIdBits) {
    fail("{} merges, expected at most {}", merges.size(), 1 << kIdBits);
  }
  slots_.resize(slots, kNoSlot);
  shift_ = 64 - std::countr_zero(slots);
  for (const Merge& merge : merges) insert(merge);
  if (options.byte_level && std::count(byte_ids_.begin(), byte_ids_.end(), kUnknown) == 0) {
    byte_pair_ranks_.resize(size_t{256} * 256);
    for (size_t i = 0; i < byte_pair_ranks_.size(); ++i) {
      byte_pair_ranks_[i] = rank_of(byte_ids_[i >> 8], byte_ids_[i & 255]);
    }
  }
}

void Bpe::read_bytes(const Vocabulary& vocabulary) {
  for (int b = 0; b < 256; ++b) {
    std::string letter;
    append_utf8(letter, byte_level_letter(static_cast<uint8_t>(b)));
    byte_ids_[b] = static_cast<int32_t>(vocabulary.find(letter).value_or(kUnknown));
    if (byte_ids_[b] != kUnknown) continue;
    for (const char c : letter) {
      const int32_t id = byte_tokens_[static_cast<uint8_t>(c)];
      if (id != kUnknown) fallback_ids_[b].push_back(id);
    }
    if (fallback_ids_[b].size() != letter.size()) fallback_ids_[b].clear();
  }
}

void Bpe::read_characters(const Vocabulary& vocabulary) {
  for (int64_t id = 0; id < vocabulary.end_id(); ++id) {
    const std::string_view text = vocabulary.text(id);
    if (text.empty() || utf8_length(static_cast<uint8_t>(text[0])) != text.size()) continue;
    const char32_t c = utf8_decode(text.data());
    if (character_ids_.size() <= c) character_ids_.resize(c + 1, kUnknown);
    character_ids_[c] = static_cast<int32_t>(id);
  }
}

void Bpe::insert(const Merge& merge) {
  const uint64_t key = pair_key(merge.left, merge.right), h = hash(key);
  const uint64_t bit = h >> (64 - kFilterBits);
  filter_[bit >> 6] |= uint64_t{1} << (bit & 63);
  size_t i = h >> shift_;
  while (slots_[i] != kNoSlot && slots_[i] >> kIdBits != key) i = (i + 1) & (slots_.size() - 1);
  // Of two merges of the same pair the later one counts, as in Hugging Face's map.
  slots_[i] = key << kIdBits | static_cast<uint32_t>(merge.rank);
  if (merged_.size() <= static_cast<size_t>(merge.rank)) merged_.resize(merge.rank + 1);
  merged_[merge.rank] = merge.merged;
}

void Bpe::start(std::string_view piece, Scratch& scratch) const {
  std::vector<int32_t>& ids = scratch.ids;
  std::vector<int32_t>& ranks = scratch.ranks;
  if (byte_pair_ranks_.empty()) {
    start_letters(piece, ids);
    ranks.resize(ids.size());
    for (size_t i = 0; i + 1 < ids.size(); ++i) ranks[i] = rank_of(ids[i], ids[i + 1]);
  } else {
    ids.resize(piece.size());
    ranks.resize(piece.size());
    size_t pair = 0;
    for (size_t i = 0; i < piece.size(); ++i) {
      const auto byte = static_cast<uint8_t>(piece[i]);
      ids[i] = byte_ids_[byte];
      pair = (pair << 8 | byte) & 0xFFFF;
      if (i > 0) ranks[i - 1] = byte_pair_ranks_[pair];
    }
  }
  if (!ranks.empty()) ranks.back() = kNoRank;
}

void Bpe::start_letters(std::string_view piece, std::vector<int32_t>& ids) const {
  ids.clear();
  // As in Hugging Face's loop the unknown token of a letter comes late: not before the next letter
  // that is known (or unknown, if they are not fused), but after fallback tokens in between.
  bool unknown = false;
  const auto flush = [&] {
    if (unknown && options_.unk_id >= 0) ids.push_back(static_cast<int32_t>(options_.unk_id));
    unknown = false;
  };
  const auto add = [&](int32_t id, auto&& fall_back) {
    if (id != kUnknown) {
      if (unknown) flush();
      ids.push_back(id);
    } else if (!fall_back()) {
      if (!options_.fuse_unk) flush();
      unknown = true;
    }
  };
  if (options_.byte_level) {
    for (const char c : piece) {
      const auto byte = static_cast<uint8_t>(c);
      add(byte_ids_[byte], [&] {
        ids.insert(ids.end(), fallback_ids_[byte].begin(), fallback_ids_[byte].end());
        return !fallback_ids_[byte].empty();
      });
    }
  } else {
    for (size_t i = 0, length; i < piece.size(); i += length) {
      length = utf8_length(static_cast<uint8_t>(piece[i]));
      const char32_t c = utf8_decode(piece.data() + i);
      add(c < character_ids_.size() ? character_ids_[c] : kUnknown, [&] {
        const size_t before = ids.size();
        for (const char part : piece.substr(i, length)) {
          const int32_t id = byte_tokens_[static_cast<uint8_t>(part)];
          if (id == kUnknown) {
            ids.resize(before);
            return false;
          }
          ids.push_back(id);
        }
        return true;
      });
    }
  }
  flush();
}

size_t Bpe::merge_short(int32_t* ids, int32_t* ranks, size_t count) const {
  while (count > 1) {
    int32_t lowest = kNoRank;
    for (size_t i = 0; i + 1 < count; ++i) lowest = std::min(lowest, ranks[i]);
    if (lowest == kNoRank) break;
    size_t i = 0;
    while (ranks[i] != lowest) ++i;
    ids[i] = merged_[lowest];
    --count;
    std::copy(ids + i + 2, ids + count + 1, ids + i + 1);
    if (i + 1 < count) {
      std::copy(ranks + i + 2, ranks + count, ranks + i + 1);
      ranks[i] = rank_of(ids[i], ids[i + 1]);
    }
    if (i > 0) ranks[i - 1] = rank_of(ids[i - 1], ids[i]);
  }
  return count;
}

void Bpe::merge_long(Scratch& scratch) const {
  // A linked list of tokens and a queue of (rank, place of the left token). An entry counts only as
  // long as the pair there still has that rank.
  std::vector<int32_t>& ids = scratch.ids;
  const auto count = static_cast<int32_t>(ids.size());
  constexpr int32_t kGone = -2, kEnd = -1;
  std::vector<int32_t>& next = scratch.next;
  std::vector<int32_t>& previous = scratch.previous;
  std::vector<int32_t>& ranks = scratch.ranks;
  next.resize(count);
  previous.resize(count);
  scratch.queue.clear();
  const auto entry = [](int32_t rank, int32_t place) {
    return static_cast<uint64_t>(rank) << 32 | static_cast<uint32_t>(place);
  };
  for (int32_t i = 0; i < count; ++i) {
    next[i] = i + 1 < count ? i + 1 : kEnd;
    previous[i] = i - 1;
    if (ranks[i] != kNoRank) scratch.queue.push_back(entry(ranks[i], i));
  }
  const auto later = std::greater<uint64_t>();
  std::make_heap(scratch.queue.begin(), scratch.queue.end(), later);
  const auto update = [&](int32_t i) {
    ranks[i] = next[i] == kEnd ? kNoRank : rank_of(ids[i], ids[next[i]]);
    if (ranks[i] == kNoRank) return;
    scratch.queue.push_back(entry(ranks[i], i));
    std::push_heap(scratch.queue.begin(), scratch.queue.end(), later);
  };
  while (!scratch.queue.empty()) {
    std::pop_heap(scratch.queue.begin(), scratch.queue.end(), later);
    const uint64_t top = scratch.queue.back();
    scratch.queue.pop_back();
    const auto rank = static_cast<int32_t>(top >> 32), i = static_cast<int32_t>(top);
    if (ranks[i] != rank) continue;
    const int32_t eaten = next[i];
    ids[i] = merged_[rank];
    next[i] = next[eaten];
    if (next[i] != kEnd) previous[next[i]] = i;
    next[eaten] = kGone;
    ranks[eaten] = kNoRank;
    update(i);
    if (previous[i] >= 0) update(previous[i]);
  }
  int32_t kept = 0;
  for (int32_t i = 0; i < count; ++i) {
    if (next[i] != kGone) ids[kept++] = ids[i];
  }
  ids.resize(kept);
}

void Bpe::encode_new(std::string_view piece, const PieceCache::Key& key,
                     const Vocabulary& vocabulary, const std::vector<bool>& is_added,
                     bool allow_added, Scratch& scratch, std::vector<int64_t>& ids) const {
  bool cached = true;
  if (options_.ignore_merges) {
    std::string_view text = piece;
    if (options_.byte_level) {
      scratch.letters.clear();
      for (const char c : piece) {
        append_utf8(scratch.letters, byte_level_letter(static_cast<uint8_t>(c)));
      }
      text = scratch.letters;
    }
    if (const auto id = vocabulary.find_model_token(text)) {
      if (!is_added[*id]) {
        const auto narrow = static_cast<int32_t>(*id);
        scratch.cache.put(key, {&narrow, 1});
      }
      if (allow_added || !is_added[*id]) {
        ids.push_back(*id);
        return;
      }
      cached = false;  // the next time it may be allowed
    }
  }
  if (piece.size() > INT32_MAX / 2) {
    fail("a piece of {} bytes without a place to split is too long for the tokenizer",
         piece.size());
  }
  start(piece, scratch);
  if (scratch.ids.size() <= kShort) {
    scratch.ids.resize(
        merge_short(scratch.ids.data(), scratch.ranks.data(), scratch.ids.size()));
  } else {
    merge_long(scratch);
  }
  if (cached) scratch.cache.put(key, scratch.ids);
  ids.insert(ids.end(), scratch.ids.begin(), scratch.ids.end());
}

}  // namespace dsv3
