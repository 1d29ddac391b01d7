#include "text/vocabulary.h"

#include <bit>
#include <functional>

#include "base/error.h"
#include "text/byte_level.h"

namespace dsv3 {

void Vocabulary::reserve(size_t tokens) {
  spans_.reserve(tokens);
  grow_table(std::bit_ceil(2 * tokens + 16));
}

void Vocabulary::grow_table(size_t slots) {
  if (slots <= table_.size()) return;
  table_.assign(slots, -1);
  for (size_t id = 0; id < spans_.size(); ++id) {
    if (spans_[id].present) table_[slot_of(text_of(spans_[id]))] = static_cast<int32_t>(id);
  }
}

size_t Vocabulary::slot_of(std::string_view text) const {
  const size_t mask = table_.size() - 1;
  size_t slot = std::hash<std::string_view>()(text) & mask;
  while (table_[slot] >= 0 && text_of(spans_[table_[slot]]) != text) slot = (slot + 1) & mask;
  return slot;
}

void Vocabulary::add(int64_t id, std::string_view text) {
  if (id < 0 || id > kMaxId) {
    fail("token '{}' has id {}, expected 0 to {}", text, id, kMaxId);
  }
  if (has(id)) fail("id {} belongs to two tokens, '{}' and '{}'", id, this->text(id), text);
  if (table_.size() < 2 * static_cast<size_t>(count_ + 1)) {
    grow_table(std::bit_ceil(4 * static_cast<size_t>(count_ + 8)));
  }
  const size_t slot = slot_of(text);
  if (table_[slot] >= 0) fail("token '{}' has two ids, {} and {}", text, table_[slot], id);
  table_[slot] = static_cast<int32_t>(id);
  if (spans_.size() <= static_cast<size_t>(id)) spans_.resize(id + 1);
  spans_[id].begin = texts_.size();
  spans_[id].length = static_cast<uint32_t>(text.size());
  spans_[id].present = true;
  texts_ += text;
  ++count_;
}

void Vocabulary::make_bytes() {
  bytes_.clear();
  bytes_.reserve(texts_.size());
  for (Span& span : spans_) {
    span.bytes_begin = bytes_.size();
    // As the ByteLevel decoder has it: a token with any other character is its own UTF-8.
    const std::string_view text = text_of(span);
    if (const auto bytes = byte_level_bytes(text)) bytes_ += *bytes;
    else bytes_ += text;
    span.bytes_length = static_cast<uint32_t>(bytes_.size() - span.bytes_begin);
  }
}

std::optional<int64_t> Vocabulary::find(std::string_view text) const {
  if (table_.empty()) return std::nullopt;
  const int32_t id = table_[slot_of(text)];
  return id >= 0 ? std::optional<int64_t>(id) : std::nullopt;
}

std::string_view Vocabulary::text(int64_t id) const {
  return has(id) ? text_of(spans_[id]) : std::string_view();
}

std::string_view Vocabulary::bytes(int64_t id) const {
  if (!has(id)) return {};
  return std::string_view(bytes_).substr(spans_[id].bytes_begin, spans_[id].bytes_length);
}

}  // namespace dsv3
