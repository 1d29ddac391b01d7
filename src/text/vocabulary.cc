#include "text/vocabulary.h"

#include <bit>
#include <functional>

#include "base/error.h"

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
  spans_[id].in_model = !model_complete_;
  texts_ += text;
  ++count_;
}

std::optional<int64_t> Vocabulary::find(std::string_view text) const {
  if (table_.empty()) return std::nullopt;
  const int32_t id = table_[slot_of(text)];
  return id >= 0 ? std::optional<int64_t>(id) : std::nullopt;
}

std::optional<int64_t> Vocabulary::find_model_token(std::string_view text) const {
  const auto id = find(text);
  return id && spans_[*id].in_model ? id : std::nullopt;
}

std::string_view Vocabulary::text(int64_t id) const {
  return has(id) ? text_of(spans_[id]) : std::string_view();
}

}  // namespace dsv3
