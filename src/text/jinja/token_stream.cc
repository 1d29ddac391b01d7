#include "text/jinja/token_stream.h"

#include <algorithm>

namespace dsv3::jinja {

const Token& TokenStream::expect(TokenKind kind, std::string_view what) {
  if (!at(kind)) expected(what);
  return next();
}

void TokenStream::expect_op(std::string_view op) {
  if (!skip_op(op)) expected(op);
}

void TokenStream::expect_name(std::string_view name) {
  if (!skip_name(name)) expected(name);
}

void TokenStream::expected(std::string_view what) const {
  if (at(TokenKind::kEnd)) fail_at(offset(), "unexpected end of template, expected '{}'", what);
  fail_at(offset(), "expected '{}', got '{}'", what, describe(current()));
}

size_t TokenStream::line_of(uint32_t where) const {
  const std::string_view before = source_.substr(0, where);
  return 1 + static_cast<size_t>(std::count(before.begin(), before.end(), '\n'));
}

TokenStream::Nesting::Nesting(TokenStream& stream) : stream_(stream) {
  if (++stream.depth_ > stream.max_depth_) {
    fail_at(stream.offset(), "nested deeper than {} levels", stream.max_depth_);
  }
}

}  // namespace dsv3::jinja
