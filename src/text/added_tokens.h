#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dsv3 {

/// A token that is cut out of the text before anything else, as `added_tokens` has it.
struct AddedToken {
  int64_t id = 0;
  std::string content;
  bool single_word = false;  ///< no match next to a word character
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< takes the white space after it along
  bool normalized = true;    ///< looked for after the others, in what they left
  bool special = false;      ///< dropped by decode with skip_special_tokens
};

/// A part of a text: an added token, or text between them (`id` is kText).
struct TextPart {
  static constexpr int64_t kText = -1;
  int64_t id;
  std::string_view text;
};

/// Finds a set of added tokens in texts: leftmost first, then the longest.
class AddedTokenFinder {
 public:
  void add(const AddedToken& token);
  bool empty() const { return tokens_.empty(); }

  /// Appends the parts of `text` (valid UTF-8) to `parts`. Semantics of AddedVocabulary in Hugging
  /// Face tokenizers.
  void split(std::string_view text, std::vector<TextPart>& parts) const;

 private:
  static constexpr int32_t kNone = -1;
  struct Node {
    int32_t token = kNone;  // index into tokens_ of the content that ends here
    std::vector<std::pair<uint8_t, int32_t>> children;
  };

  /// The first place from `at` on where a token may begin; the size of the text if there is none.
  size_t next_start(std::string_view text, size_t at) const;
  /// The index of the longest token that `text` begins with, or kNone.
  int32_t longest_at(std::string_view text) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<bool, 256> may_start_ = {};
  int first_byte_ = kNone;  // where all tokens begin with the same byte
};

}  // namespace dsv3
