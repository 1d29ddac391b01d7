#include "text/tiktoken.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

#include "text/byte_level.h"
#include "text/json_fields.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

namespace dsv3 {
namespace {

/// The ids after the vocabulary that are special tokens there.
constexpr int64_t kKimiSpecialTokens = 258;

int value_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text.substr(0, text.size() - padding)) {
    const int value = value_of(c);
    if (value < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count >= 8) bytes += static_cast<char>(bits >> (count -= 8) & 0xFF);
  }
  return bytes;
}

std::string letters_of(std::string_view bytes) {
  std::string letters;
  for (const char c : bytes) append_utf8(letters, byte_level_letter(static_cast<uint8_t>(c)));
  return letters;
}

/// The special tokens: those that tokenizer_config.json names, and the reserved ones between them.
std::vector<AddedToken> special_tokens(int64_t base, const Json& config) {
  std::vector<AddedToken> tokens;
  const Json* named = config.is_null()
                          ? nullptr
                          : find_field(config, "added_tokens_decoder", "tokenizer_config.json");
  std::vector<bool> has_name(kKimiSpecialTokens);
  if (named) {
    const std::string field = "tokenizer_config.json: added_tokens_decoder";
    if (!named->is_object()) fail("{}: is {}, expected an object", field, named->type_name());
    for (const auto& [key, value] : named->items()) {
      AddedToken token;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token.id);
      if (error != std::errc() || end != key.data() + key.size() || token.id < base ||
          token.id > Vocabulary::kMaxId) {
        fail("{}: '{}' is no id after the vocabulary's {} tokens", field, key, base);
      }
      const std::string where = fmt::format("{}[\"{}\"]", field, key);
      token.content = string_field(value, "content", where);
      if (token.content.empty()) fail("{}: field 'content' is empty", where);
      token.special = bool_field(value, "special", false, where);
      token.normalized = false;
      if (token.id - base < kKimiSpecialTokens) has_name[token.id - base] = true;
      tokens.push_back(token);
    }
  }
  for (int64_t i = 0; i < kKimiSpecialTokens; ++i) {
    if (has_name[i]) continue;
    AddedToken token;
    token.id = base + i;
    token.content = fmt::format("<|reserved_token_{}|>", token.id);
    token.special = true;
    token.normalized = false;
    tokens.push_back(token);
  }
  return tokens;
}

}  // namespace

void read_tiktoken_vocabulary(std::string_view text, Vocabulary& vocabulary) {
  vocabulary.reserve(static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) + 1);
  for (int64_t line = 1; !text.empty(); ++line) {
    std::string_view entry = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), entry.size() + 1));
    if (entry.ends_with('\r')) entry.remove_suffix(1);
    if (entry.empty()) continue;
    const size_t space = entry.find(' ');
    const auto bytes = from_base64(entry.substr(0, std::min(space, entry.size())));
    int64_t rank = -1;
    const char* const end = entry.data() + entry.size();
    const bool has_rank = space != entry.npos &&
                          std::from_chars(entry.data() + space + 1, end, rank).ptr == end;
    if (!bytes || !has_rank || rank < 0) {
      fail("line {}: '{}' is not a token in base64, a space and its rank", line,
           entry.substr(0, 100));
    }
    with_context(fmt::format("line {}", line), [&] { vocabulary.add(rank, letters_of(*bytes)); });
  }
  if (vocabulary.size() != vocabulary.end_id()) {
    fail("has {} tokens, but ranks up to {}", vocabulary.size(), vocabulary.end_id() - 1);
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (!vocabulary.find(letters_of(std::string(1, static_cast<char>(byte))))) {
      fail("has no token for the byte 0x{:02X}", byte);
    }
  }
}

std::vector<Merge> tiktoken_merges(const Vocabulary& vocabulary) {
  std::vector<Merge> merges;
  for (int64_t id = 0; id < vocabulary.end_id(); ++id) {
    const std::string_view text = vocabulary.text(id);
    const auto merged = static_cast<int32_t>(id);
    for (size_t at = 0; (at += utf8_length(static_cast<uint8_t>(text[at]))) < text.size();) {
      const auto left = vocabulary.find(text.substr(0, at));
      if (!left) continue;
      const auto right = vocabulary.find(text.substr(at));
      if (!right) continue;
      merges.push_back({static_cast<int32_t>(*left), static_cast<int32_t>(*right), merged, merged});
    }
  }
  return merges;
}

void Tokenizer::Impl::read_tiktoken(const std::string& text, const std::string& where,
                                    const Json& config) {
  with_context(where, [&] {
    read_tiktoken_vocabulary(text, vocabulary);
    vocabulary.end_model();
    pre_tokenizer = PreTokenizer::from_json(pre_tokenizer_json({{kKimiPattern}}));
    BpeOptions options;
    options.ignore_merges = true;  // tiktoken looks a whole piece up first
    bpe = Bpe(vocabulary, tiktoken_merges(vocabulary), options);
    set_added_tokens(special_tokens(vocabulary.end_id(), config));
    decoder = Decoder::byte_level();
    make_token_bytes();
    in_chunks = true;
  });
}

}  // namespace dsv3
