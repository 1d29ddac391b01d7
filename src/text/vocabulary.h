#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dsv3 {

/// Tokens by id and by text. Texts are as the file writes them.
class Vocabulary {
 public:
  /// Ids are at most this; a larger one in a file is taken as an error in it.
  static constexpr int64_t kMaxId = (int64_t{1} << 21) - 1;

  /// Adds a token: of the model, until `end_model` is called; then an added one. Throws Error if
  /// the id is negative, too large or taken, or the text is taken.
  void add(int64_t id, std::string_view text);
  void reserve(size_t tokens);
  void end_model() { model_complete_ = true; }

  int64_t size() const { return count_; }
  /// One above the largest id.
  int64_t end_id() const { return static_cast<int64_t>(spans_.size()); }
  bool has(int64_t id) const {
    return id >= 0 && id < static_cast<int64_t>(spans_.size()) && spans_[id].present;
  }
  std::optional<int64_t> find(std::string_view text) const;
  /// The same among the tokens of the model.
  std::optional<int64_t> find_model_token(std::string_view text) const;
  /// Empty for an id without a token.
  std::string_view text(int64_t id) const;

 private:
  struct Span {
    size_t begin = 0;
    uint32_t length = 0;
    bool present = false, in_model = false;
  };

  std::string_view text_of(const Span& span) const {
    return std::string_view(texts_).substr(span.begin, span.length);
  }
  /// The slot of the table that holds `text` or, if none does, where it would go.
  size_t slot_of(std::string_view text) const;
  void grow_table(size_t slots);

  std::string texts_;
  std::vector<Span> spans_;     // by id
  std::vector<int32_t> table_;  // open addressing: ids, or -1
  int64_t count_ = 0;
  bool model_complete_ = false;
};

}  // namespace dsv3
