#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"
#include "text/utf8.h"

namespace dsv3 {
namespace {

bool is_space(const char* p) { return (category_bit(utf8_decode(p)) & kWhiteSpace) != 0; }

/// Whether a word character stands right before or right after byte `at`.
bool word_before(std::string_view text, size_t at) {
  return at > 0 && is_word_character(utf8_decode(utf8_previous(text.data() + at)));
}
bool word_after(std::string_view text, size_t at) {
  return at < text.size() && is_word_character(utf8_decode(text.data() + at));
}

size_t skip_space_back(std::string_view text, size_t at) {
  while (at > 0) {
    const char* const previous = utf8_previous(text.data() + at);
    if (!is_space(previous)) break;
    at = previous - text.data();
  }
  return at;
}

size_t skip_space(std::string_view text, size_t at) {
  while (at < text.size() && is_space(text.data() + at)) {
    at += utf8_length(static_cast<uint8_t>(text[at]));
  }
  return at;
}

}  // namespace

void AddedTokenFinder::add(const AddedToken& token) {
  int32_t node = 0;
  for (const char c : token.content) {
    const auto byte = static_cast<uint8_t>(c);
    auto& children = nodes_[node].children;
    const auto child = std::find_if(children.begin(), children.end(),
                                    [&](const auto& entry) { return entry.first == byte; });
    if (child != children.end()) {
      node = child->second;
      continue;
    }
    const auto next = static_cast<int32_t>(nodes_.size());
    children.emplace_back(byte, next);
    nodes_.emplace_back();
    node = next;
  }
  if (nodes_[node].token == kNone) nodes_[node].token = static_cast<int32_t>(tokens_.size());
  const auto first = static_cast<uint8_t>(token.content[0]);
  may_start_[first] = true;
  first_byte_ = tokens_.empty() || first_byte_ == first ? first : kNone;
  tokens_.push_back(token);
}

int32_t AddedTokenFinder::longest_at(std::string_view text) const {
  int32_t best = kNone, node = 0;
  for (const char c : text) {
    int32_t next = kNone;
    for (const auto& [byte, child] : nodes_[node].children) {
      if (byte == static_cast<uint8_t>(c)) next = child;
    }
    if (next == kNone) break;
    node = next;
    if (nodes_[node].token != kNone) best = nodes_[node].token;
  }
  return best;
}

size_t AddedTokenFinder::next_start(std::string_view text, size_t at) const {
  if (tokens_.empty()) return text.size();
  if (first_byte_ != kNone) {
    return std::min(text.find(static_cast<char>(first_byte_), at), text.size());
  }
  while (at < text.size() && !may_start_[static_cast<uint8_t>(text[at])]) ++at;
  return at;
}

void AddedTokenFinder::split(std::string_view text, std::vector<TextPart>& parts) const {
  size_t done = 0;  // all before this byte is in `parts`
  for (size_t at = 0; (at = next_start(text, at)) < text.size();) {
    const int32_t found = longest_at(text.substr(at));
    if (found == kNone) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[found];
    size_t begin = at, end = at + token.content.size();
    at = end;
    if (token.single_word && (word_before(text, begin) || word_after(text, end))) continue;
    // White space that the token before took is gone.
    if (token.lstrip) begin = std::max(skip_space_back(text, begin), done);
    if (token.rstrip) end = skip_space(text, end);
    if (done < begin) parts.push_back({TextPart::kText, text.substr(done, begin - done)});
    // A token of white space that the one before took along altogether is gone with it.
    if (begin < end) parts.push_back({token.id, text.substr(begin, end - begin)});
    done = end;
  }
  if (done < text.size()) parts.push_back({TextPart::kText, text.substr(done)});
}

}  // namespace dsv3
