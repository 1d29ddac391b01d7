#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/utf8.h"

namespace dsv3 {
namespace {

/// Pieces up to this many tokens are merged by looking at all pairs each time, which is quicker than
/// a queue for the few tokens of a word.
constexpr size_t kShort = 64;

}  // namespace

Bpe::Bpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges,
         const BpeOptions& options)
    : options_(options) {
  for (int b = 0; b < 256; ++b) {
    std::string letter;
    append_utf8(letter, byte_level_letter(static_cast<uint8_t>(b)));
    byte_ids_[b] = static_cast<int32_t>(vocabulary.find(letter).value_or(kUnknown));
    if (byte_ids_[b] != kUnknown || !options.byte_fallback) continue;
    for (const char c : letter) {
      const auto id = vocabulary.find(fmt::format("<0x{:02X}>", static_cast<uint8_t>(c)));
      if (id) fallback_ids_[b].push_back(static_cast<int32_t>(*id));
    }
    if (fallback_ids_[b].size() != letter.size()) fallback_ids_[b].clear();
  }
  const size_t slots = std::bit_ceil(2 * merges.size() + 2);
  slots_.resize(slots);
  shift_ = 64 - std::countr_zero(slots);
  merged_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    insert(merges[rank], static_cast<int32_t>(rank));
    merged_.push_back(merges[rank].merged);
  }
}

void Bpe::insert(const Merge& merge, int32_t rank) {
  size_t i = home(merge.left, merge.right);
  while (slots_[i].left != kEmpty &&
         (slots_[i].left != merge.left || slots_[i].right != merge.right)) {
    i = (i + 1) & (slots_.size() - 1);
  }
  // Of two merges of the same pair the later one counts, as in Hugging Face's map.
  slots_[i] = {merge.left, merge.right, rank, merge.merged};
}

int32_t Bpe::rank_of(int32_t left, int32_t right) const {
  for (size_t i = home(left, right);; i = (i + 1) & (slots_.size() - 1)) {
    const Slot& slot = slots_[i];
    if (slot.left == left && slot.right == right) return slot.rank;
    if (slot.left == kEmpty) return kNoRank;
  }
}

void Bpe::start(std::string_view piece, std::vector<int32_t>& ids) const {
  ids.clear();
  // As in Hugging Face's loop the unknown token of a letter comes late: not before the next letter
  // that is known (or unknown, if they are not fused), but after fallback tokens in between.
  bool unknown = false;
  const auto flush = [&] {
    if (unknown && options_.unk_id >= 0) ids.push_back(static_cast<int32_t>(options_.unk_id));
    unknown = false;
  };
  for (const char c : piece) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte_ids_[byte] != kUnknown) {
      if (unknown) flush();
      ids.push_back(byte_ids_[byte]);
    } else if (!fallback_ids_[byte].empty()) {
      ids.insert(ids.end(), fallback_ids_[byte].begin(), fallback_ids_[byte].end());
    } else {
      if (!options_.fuse_unk) flush();
      unknown = true;
    }
  }
  flush();
}

void Bpe::merge_short(Scratch& scratch) const {
  std::vector<int32_t>& ids = scratch.ids;
  std::vector<int32_t>& ranks = scratch.ranks;  // of the pair that begins at each token
  ranks.assign(ids.size(), kNoRank);
  for (size_t i = 0; i + 1 < ids.size(); ++i) ranks[i] = rank_of(ids[i], ids[i + 1]);
  while (ids.size() > 1) {
    const auto lowest = std::min_element(ranks.begin(), ranks.end());
    if (*lowest == kNoRank) return;
    const size_t i = lowest - ranks.begin();
    ids[i] = merged_[*lowest];
    ids.erase(ids.begin() + i + 1);
    ranks.erase(ranks.begin() + i + 1);
    ranks[i] = i + 1 < ids.size() ? rank_of(ids[i], ids[i + 1]) : kNoRank;
    if (i > 0) ranks[i - 1] = rank_of(ids[i - 1], ids[i]);
  }
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
  ranks.assign(count, kNoRank);
  scratch.queue.clear();
  const auto entry = [](int32_t rank, int32_t place) {
    return static_cast<uint64_t>(rank) << 32 | static_cast<uint32_t>(place);
  };
  for (int32_t i = 0; i < count; ++i) {
    next[i] = i + 1 < count ? i + 1 : kEnd;
    previous[i] = i - 1;
    if (next[i] == kEnd) break;
    ranks[i] = rank_of(ids[i], ids[i + 1]);
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

void Bpe::encode(std::string_view piece, const Vocabulary& vocabulary,
                 const std::vector<bool>& is_added, Scratch& scratch,
                 std::vector<int64_t>& ids) const {
  if (options_.ignore_merges) {
    scratch.letters.clear();
    for (const char c : piece) {
      append_utf8(scratch.letters, byte_level_letter(static_cast<uint8_t>(c)));
    }
    const auto id = vocabulary.find(scratch.letters);
    if (id && !is_added[*id]) {
      ids.push_back(*id);
      return;
    }
  }
  if (piece.size() > INT32_MAX / 2) {
    fail("a piece of {} bytes without a place to split is too long for the tokenizer",
         piece.size());
  }
  start(piece, scratch.ids);
  if (scratch.ids.size() <= kShort) merge_short(scratch);
  else merge_long(scratch);
  ids.insert(ids.end(), scratch.ids.begin(), scratch.ids.end());
}

}  // namespace dsv3
