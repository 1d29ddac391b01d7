#include "text/jinja/lexer.h"

#include <charconv>
#include <cstdlib>

#include "base/error.h"
#include "text/jinja/text.h"
#include "text/utf8.h"

namespace dsv3::jinja {
namespace {

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

int hex_digit(char c) {
  if (is_ascii_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 99;
}

// What backslashes in a string stand for, as in Python. `offset` is that of the text in the source.
class Unescaper {
 public:
  Unescaper(std::string_view text, size_t offset) : text_(text), offset_(offset) {}

  std::string run() {
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c != '\\') {
        flush_surrogate();
        out_ += c;
      } else {
        escape();
      }
    }
    flush_surrogate();
    return std::move(out_);
  }

 private:
  void escape() {
    const char c = text_[at_++];  // there is one: a string does not end in a lone backslash
    switch (c) {
      case '\n':
        return;
      case '\\':
      case '\'':
      case '"':
        return add(static_cast<char32_t>(c));
      case 'a':
        return add(7);
      case 'b':
        return add(8);
      case 'f':
        return add(12);
      case 'n':
        return add('\n');
      case 'r':
        return add('\r');
      case 't':
        return add('\t');
      case 'v':
        return add(11);
      case 'x':
        return add(hex(2));
      case 'u':
        return add(hex(4));
      case 'U':
        return add(hex(8));
      case 'N':
        throw SyntaxFailure{"\\N{...} in a string is not supported", offset_ + at_ - 2};
      default:
        break;
    }
    if (c >= '0' && c <= '7') {
      char32_t code = static_cast<char32_t>(c - '0');
      for (int i = 0; i < 2 && at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '7'; ++i) {
        code = code * 8 + static_cast<char32_t>(text_[at_++] - '0');
      }
      return add(code);
    }
    flush_surrogate();
    out_ += '\\';
    out_ += c;
  }

  char32_t hex(int digits) {
    char32_t code = 0;
    for (int i = 0; i < digits; ++i) {
      const int digit = at_ < text_.size() ? hex_digit(text_[at_]) : 99;
      if (digit > 15) throw SyntaxFailure{"truncated \\x, \\u or \\U escape", offset_ + at_};
      code = code * 16 + static_cast<char32_t>(digit);
      ++at_;
    }
    if (code > 0x10FFFF) throw SyntaxFailure{"illegal Unicode character", offset_ + at_};
    return code;
  }

  // Two surrogates make one character; a lone one cannot be written as UTF-8.
  void add(char32_t code) {
    if (code >= 0xDC00 && code < 0xE000 && surrogate_) {
      code = 0x10000 + ((surrogate_ - 0xD800) << 10) + (code - 0xDC00);
      surrogate_ = 0;
      append_utf8(out_, code);
      return;
    }
    flush_surrogate();
    if (code >= 0xD800 && code < 0xDC00)
      surrogate_ = code;
    else if (code >= 0xDC00 && code < 0xE000)
      out_ += kReplacementCharacter;
    else
      append_utf8(out_, code);
  }
  void flush_surrogate() {
    if (surrogate_) out_ += kReplacementCharacter;
    surrogate_ = 0;
  }

  std::string_view text_;
  size_t offset_, at_ = 0;
  char32_t surrogate_ = 0;
  std::string out_;
};

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) text_part();
    add(TokenKind::kEnd, "", source_.size());
    return std::move(tokens_);
  }

 private:
  bool starts_with(std::string_view part) const { return source_.substr(at_).starts_with(part); }
  char peek(size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }
  [[noreturn]] void fail_at(std::string message, size_t offset) const {
    throw SyntaxFailure{std::move(message), offset};
  }
  Token& add(TokenKind kind, std::string text, size_t offset) {
    tokens_.push_back({kind, std::move(text), 0, 0, static_cast<uint32_t>(offset)});
    return tokens_.back();
  }
  void skip_space() { at_ = source_.size() - strip(source_.substr(at_), kLeft).size(); }
  void skip_newline() {
    if (peek() == '\n') ++at_;
  }
  void add_text(std::string_view text, size_t offset) {
    if (!text.empty()) add(TokenKind::kText, std::string(text), offset);
  }

  // `text` stands before a tag whose first sign is `sign`; `variable`: a tag that prints.
  std::string_view strip_before_tag(std::string_view text, char sign, bool variable,
                                    bool line_starts) const {
    if (sign == '-') return strip(text, kRight);
    if (sign == '+' || variable) return text;
    const size_t newline = text.rfind('\n');
    const size_t line = newline == text.npos ? 0 : newline + 1;
    if ((line == 0 && !line_starts) || !strip(text.substr(line), kLeft).empty()) return text;
    return text.substr(0, line);
  }

  char take_sign() {
    const char c = peek();
    if (c != '-' && c != '+') return '\0';
    ++at_;
    return c;
  }

  // Text up to the next tag, and that tag.
  void text_part() {
    const size_t start = at_;
    const bool line_starts = start == 0 || source_[start - 1] == '\n';
    size_t tag = start;
    for (;; ++tag) {
      tag = source_.find('{', tag);
      if (tag == source_.npos || tag + 1 >= source_.size()) {
        add_text(source_.substr(start), start);
        at_ = source_.size();
        return;
      }
      const char c = source_[tag + 1];
      if (c == '%' || c == '{' || c == '#') break;
    }
    const char kind = source_[tag + 1];
    at_ = tag + 2;
    const char sign = take_sign();
    add_text(strip_before_tag(source_.substr(start, tag - start), sign, kind == '{', line_starts),
             start);
    if (kind == '#') return comment(tag);
    if (kind == '%' && raw(tag)) return;
    add(kind == '%' ? TokenKind::kBlockBegin : TokenKind::kPrintBegin, "", tag);
    code(kind == '%');
  }

  void comment(size_t tag) {
    for (;; ++at_) {
      if (at_ >= source_.size()) fail_at("Missing end of comment tag", tag);
      if (starts_with("#}")) {
        at_ += 2;
        return skip_newline();
      }
      if (starts_with("+#}") || starts_with("-#}")) {
        const bool strips = peek() == '-';
        at_ += 3;
        if (strips) skip_space();
        return;
      }
    }
  }

  // The end of a block tag: %}, -%} or +%} with the white space that goes with it.
  bool block_end() {
    if (starts_with("%}")) {
      at_ += 2;
      skip_newline();
    } else if (starts_with("-%}")) {
      at_ += 3;
      skip_space();
    } else if (starts_with("+%}")) {
      at_ += 3;
    } else {
      return false;
    }
    return true;
  }

  bool raw(size_t tag) {
    const size_t back = at_;
    skip_space();
    if (!starts_with("raw")) return at_ = back, false;
    at_ += 3;
    skip_space();
    if (starts_with("-%}")) {
      at_ += 3;
      skip_space();
    } else if (starts_with("%}")) {
      at_ += 2;
    } else {
      return at_ = back, false;
    }
    const size_t start = at_;
    const bool line_starts = source_[start - 1] == '\n';
    for (size_t end = start;; ++end) {
      end = source_.find("{%", end);
      if (end == source_.npos) fail_at("Missing end of raw directive", tag);
      at_ = end + 2;
      const char sign = take_sign();
      skip_space();
      if (!starts_with("endraw")) continue;
      at_ += 6;
      skip_space();
      if (!block_end()) continue;
      add_text(strip_before_tag(source_.substr(start, end - start), sign, false, line_starts),
               start);
      return true;
    }
  }

  // The inside of a tag, up to and with its end.
  void code(bool block) {
    std::vector<char> open;
    while (true) {
      skip_space();
      const size_t start = at_;
      if (at_ >= source_.size()) {
        return;  // the parser says what it expected instead of the end
      }
      if (open.empty()) {
        if (block ? block_end() : print_end()) {
          add(block ? TokenKind::kBlockEnd : TokenKind::kPrintEnd, "", start);
          return;
        }
      }
      const char c = peek();
      if (is_ascii_digit(c))
        number();
      else if (c == '\'' || c == '"')
        string();
      else if (!name())
        operator_token(open);
    }
  }

  bool print_end() {
    if (starts_with("}}")) {
      at_ += 2;
      return true;
    }
    if (!starts_with("-}}")) return false;
    at_ += 3;
    skip_space();
    return true;
  }

  bool name() {
    const size_t start = at_;
    while (at_ < source_.size()) {
      const char32_t c = utf8_decode(source_.data() + at_);
      if (!(at_ == start ? is_identifier_start(c) : is_identifier_part(c))) break;
      at_ += utf8_length(static_cast<uint8_t>(source_[at_]));
    }
    if (at_ == start) return false;
    add(TokenKind::kName, std::string(source_.substr(start, at_ - start)), start);
    return true;
  }

  // Length of digits with single underscores between them, from `from`.
  template <typename IsDigit>
  size_t digits(size_t from, IsDigit is_digit_of_base) const {
    size_t at = from;
    while (at < source_.size()) {
      if (is_digit_of_base(source_[at]))
        ++at;
      else if (source_[at] == '_' && at > from && at + 1 < source_.size() &&
               is_digit_of_base(source_[at + 1]))
        ++at;
      else
        break;
    }
    return at - from;
  }

  void number() {
    const size_t start = at_;
    const bool after_dot = start > 0 && source_[start - 1] == '.';
    if (!after_dot && real(start)) return;
    int base = 10;
    size_t prefix = 0;
    if (peek() == '0') {
      const char letter = static_cast<char>(peek(1) | 0x20);
      base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
      prefix = base == 10 ? 0 : 2;
    }
    const auto in_base = [&](char c) { return hex_digit(c) < base; };
    // An underscore may follow the prefix at once.
    const size_t skip = prefix && peek(2) == '_' ? 3 : prefix;
    size_t length = prefix ? digits(start + skip, in_base) : 0;
    if (length == 0) {  // decimal: "0x" without digits is a 0 and a name
      base = 10;
      prefix = 0;
      const bool zero = peek() == '0';
      length = digits(start, [&](char c) { return zero ? c == '0' : is_ascii_digit(c); });
    } else {
      length += skip;
    }
    std::string text(source_.substr(start + prefix, length - prefix));
    std::erase(text, '_');
    Token& token = add(TokenKind::kInteger, "", start);
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), token.integer, base);
    if (error != std::errc()) fail_at("integer does not fit 64 bits", start);
    at_ = start + length;
  }

  // digits, then a fraction or an exponent or both
  bool real(size_t start) {
    size_t at = start + digits(start, is_ascii_digit);
    bool found = false;
    if (at < source_.size() && source_[at] == '.') {
      const size_t fraction = digits(at + 1, is_ascii_digit);
      if (fraction > 0) {
        at += 1 + fraction;
        found = true;
      }
    }
    if (at < source_.size() && (source_[at] | 0x20) == 'e') {
      const size_t sign =
          at + 1 < source_.size() && (source_[at + 1] == '+' || source_[at + 1] == '-');
      const size_t exponent = digits(at + 1 + sign, is_ascii_digit);
      if (exponent > 0) {
        at += 1 + sign + exponent;
        found = true;
      }
    }
    if (!found) return false;
    std::string text(source_.substr(start, at - start));
    std::erase(text, '_');
    double value = 0;
    // Out of range, from_chars leaves the value alone; strtod gives infinity or 0 as Python does.
    if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) {
      value = std::strtod(text.c_str(), nullptr);
    }
    add(TokenKind::kFloat, "", start).real = value;
    at_ = at;
    return true;
  }

  void string() {
    const size_t start = at_;
    const char quote = source_[start];
    size_t at = start + 1;
    while (at < source_.size() && source_[at] != quote) at += source_[at] == '\\' ? 2 : 1;
    if (at >= source_.size()) fail_at("this string is not closed", start);
    add(TokenKind::kString, Unescaper(source_.substr(start + 1, at - start - 1), start + 1).run(),
        start);
    at_ = at + 1;
  }

  void operator_token(std::vector<char>& open) {
    static constexpr std::string_view kDouble[] = {"//", "**", "==", "!=", ">=", "<="};
    const size_t start = at_;
    size_t length = 0;
    for (const std::string_view op : kDouble) {
      if (starts_with(op)) length = 2;
    }
    if (length == 0 &&
        std::string_view("+-/*%~[](){}><=.:|,;").find(peek()) != std::string_view::npos) {
      length = 1;
    }
    const char c = peek();
    if (length == 0 || c == '\0') {
      const size_t bytes = utf8_length(static_cast<uint8_t>(c));
      fail_at(fmt::format("unexpected char '{}'", source_.substr(start, bytes)), start);
    }
    if (c == '{') open.push_back('}');
    if (c == '(') open.push_back(')');
    if (c == '[') open.push_back(']');
    if (c == '}' || c == ')' || c == ']') {
      if (open.empty()) fail_at(fmt::format("unexpected '{}'", c), start);
      if (open.back() != c) {
        fail_at(fmt::format("unexpected '{}', expected '{}'", c, open.back()), start);
      }
      open.pop_back();
    }
    at_ += length;
    add(TokenKind::kOperator, std::string(source_.substr(start, length)), start);
  }

  std::string_view source_;
  size_t at_ = 0;
  std::vector<Token> tokens_;
};

}  // namespace

std::string normalize_source(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kText:
      return "template data / text";
    case TokenKind::kBlockBegin:
      return "begin of statement block";
    case TokenKind::kBlockEnd:
      return "end of statement block";
    case TokenKind::kPrintBegin:
      return "begin of print statement";
    case TokenKind::kPrintEnd:
      return "end of print statement";
    case TokenKind::kName:
    case TokenKind::kOperator:
      return token.text;
    case TokenKind::kString:
      return "string";
    case TokenKind::kInteger:
      return "integer";
    case TokenKind::kFloat:
      return "float";
    case TokenKind::kEnd:
      return "end of template";
  }
  return "";
}

}  // namespace dsv3::jinja
