#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/jinja/lexer.h"

namespace dsv3::jinja {

/// The tokens of a template, and the errors about them. Bounds how deep a parser recurses. The
/// source must live as long.
class TokenStream {
 public:
  TokenStream(std::string_view source, int max_depth)
      : source_(source), tokens_(tokenize(source)), max_depth_(max_depth) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  /// Gives the current token and goes on; the last one, kEnd, stays.
  const Token& next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  /// Of the current token.
  uint32_t offset() const { return current().offset; }

  static bool is_op(const Token& t, std::string_view op) {
    return t.kind == TokenKind::kOperator && t.text == op;
  }
  static bool is_name(const Token& t, std::string_view name) {
    return t.kind == TokenKind::kName && t.text == name;
  }
  bool at(TokenKind kind) const { return current().kind == kind; }
  bool at_op(std::string_view op) const { return is_op(current(), op); }
  bool at_name(std::string_view name) const { return is_name(current(), name); }
  bool skip_op(std::string_view op) { return at_op(op) && (next(), true); }
  bool skip_name(std::string_view name) { return at_name(name) && (next(), true); }

  /// These throw SyntaxFailure where the current token is another.
  const Token& expect(TokenKind kind, std::string_view what);
  void expect_op(std::string_view op);
  void expect_name(std::string_view name);

  template <typename... Args>
  [[noreturn]] static void fail_at(uint32_t where, fmt::format_string<Args...> format,
                                   Args&&... args) {
    throw SyntaxFailure{fmt::format(format, std::forward<Args>(args)...), where};
  }
  /// The line of an offset, counting from 1.
  size_t line_of(uint32_t where) const;

  int max_depth() const { return max_depth_; }

  /// A level of the parser's recursion while it lives.
  class Nesting {
   public:
    explicit Nesting(TokenStream& stream);
    ~Nesting() { --stream_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    TokenStream& stream_;
  };

 private:
  [[noreturn]] void expected(std::string_view what) const;

  std::string_view source_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int max_depth_, depth_ = 0;
};

}  // namespace dsv3::jinja
