#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dsv3::jinja {

enum class TokenKind : uint8_t {
  kText,
  kBlockBegin,
  kBlockEnd,
  kPrintBegin,
  kPrintEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  std::string text;  // a string without quotes and escapes; the operator
  int64_t integer = 0;
  double real = 0;
  uint32_t offset;  // in the source
};

/// What is wrong with a template's source, and where.
struct SyntaxFailure {
  std::string message;
  size_t offset;
};

/// One kind of line end, and without the last one, as Jinja reads a template.
std::string normalize_source(std::string_view source);

/// `source` must be normalized, valid UTF-8. Does the white space control of transformers'
/// templates: trim_blocks and lstrip_blocks. The last token is kEnd. Throws SyntaxFailure.
std::vector<Token> tokenize(std::string_view source);

/// For messages: "end of print statement", "name".
std::string describe(const Token& token);

}  // namespace dsv3::jinja
