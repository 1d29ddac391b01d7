#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/jinja/runtime.h"

namespace dsv3::jinja {

/// How one value is to be written: what stands in a field of str.format after its colon, and what %
/// has in its own notation.
struct FormatSpec {
  std::string fill = " ";
  char align = '>';  // < > ^, and = between the sign and the digits
  char sign = '\0';  // + - space or none given
  bool no_negative_zero = false;
  bool alternate = false;         // #
  char grouping = '\0';           // , or _ between the digits of the whole part
  char fraction_grouping = '\0';  // the same after the point
  int64_t width = 0;
  int64_t precision = -1;  // negative: none given
  char type = '\0';
};

/// Of a field of str.format, for values that stand at `default_align`; raises where it is none.
FormatSpec parse_format_spec(std::string_view text, char default_align);

/// `prefix` and `text` with the filling; '=' puts it between the two.
std::string padded(Runtime& runtime, const std::string& prefix, const std::string& text,
                   const FormatSpec& spec);

/// For the types d, n, x, X, o, b or none. A precision is a least number of digits, as with %.
std::string format_integer(Runtime& runtime, int64_t v, const FormatSpec& spec);
/// For the types e, E, f, F, g, G, n, % or none.
std::string format_float(Runtime& runtime, double v, const FormatSpec& spec);

bool is_float_format(char type);
/// The first `precision` characters, all where it is negative.
std::string cut_to_precision(const std::string& text, int64_t precision);
/// The text of one code point.
std::string code_point_text(int64_t code);
/// Python's ascii() of what has this repr.
std::string ascii_of(std::string_view repr);

}  // namespace dsv3::jinja
