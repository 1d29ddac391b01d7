// Python's "...".format(values).

#include <charconv>

#include "text/jinja/format_spec.h"
#include "text/jinja/text.h"

namespace dsv3::jinja {
namespace {

class BraceFormatter {
 public:
  BraceFormatter(Runtime& runtime, bool markup, const Arguments& arguments)
      : runtime_(runtime), markup_(markup), arguments_(arguments) {}

  std::string run(std::string_view format, int depth) {
    if (depth > 2) raise("Max string recursion exceeded");
    std::string out;
    for (size_t at = 0; at < format.size();) {
      runtime_.meter.check_string(out.size());
      const char c = format[at];
      if (c != '{' && c != '}') {
        const size_t end = std::min(format.find_first_of("{}", at), format.size());
        out += format.substr(at, end - at);
        at = end;
      } else if (at + 1 < format.size() && format[at + 1] == c) {
        out += c;
        at += 2;
      } else if (c == '}') {
        raise("Single '}}' encountered in format string");
      } else {
        const size_t end = field_end(format, at + 1);
        out += field(format.substr(at + 1, end - at - 1), depth);
        at = end + 1;
      }
    }
    return out;
  }

 private:
  static size_t field_end(std::string_view format, size_t at) {
    for (int open = 1; at < format.size(); ++at) {
      if (format[at] == '{') ++open;
      if (format[at] == '}' && --open == 0) return at;
    }
    raise("expected '}}' before end of string");
  }

  std::string field(std::string_view text, int depth) {
    runtime_.meter.step();
    size_t end = 0;
    for (bool bracket = false; end < text.size(); ++end) {
      if (text[end] == '[') bracket = true;
      if (text[end] == ']') bracket = false;
      if (!bracket && (text[end] == '!' || text[end] == ':')) break;
    }
    Value v = lookup(text.substr(0, end));
    std::string_view rest = text.substr(end);
    if (rest.starts_with('!')) {
      if (rest.size() < 2) raise("end of format while looking for conversion specifier");
      if (rest[1] == 's')
        v = runtime_.string(to_text(runtime_, v));
      else if (rest[1] == 'r')
        v = runtime_.string(repr(runtime_, v));
      else if (rest[1] == 'a')
        v = runtime_.string(ascii_of(repr(runtime_, v)));
      else
        raise("Unknown conversion specifier {}", rest[1]);
      rest = rest.substr(2);
    }
    std::string spec;
    if (rest.starts_with(':'))
      spec = run(rest.substr(1), depth + 1);
    else if (!rest.empty())
      raise("expected ':' after conversion specifier");
    const bool is_markup = v.is_string() && v.string().markup;
    if (markup_ && is_markup && !spec.empty())
      raise("Unsupported format specification for Markup.");
    std::string out = apply(v, spec);
    return markup_ && !is_markup ? escape_html(out) : out;
  }

  // "name.attribute[key]"
  Value lookup(std::string_view path) {
    size_t at = std::min(path.find_first_of(".["), path.size());
    Value v = first(path.substr(0, at));
    while (at < path.size()) {
      if (path[at] == '.') {
        const size_t end = std::min(path.find_first_of(".[", at + 1), path.size());
        if (end == at + 1) raise("Empty attribute in format string");
        v = get_attribute(runtime_, v, path.substr(at + 1, end - at - 1));
        at = end;
      } else if (path[at] == '[') {
        const size_t end = path.find(']', at);
        if (end == path.npos) raise("Missing ']' in format string");
        const std::string_view key = path.substr(at + 1, end - at - 1);
        if (key.empty()) raise("Empty attribute in format string");
        int64_t index = 0;
        const bool is_index = parse_index(key, index);
        v = get_item(runtime_, v, is_index ? Value(index) : runtime_.string(key));
        at = end + 1;
      } else {
        raise("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return v;
  }

  static bool parse_index(std::string_view text, int64_t& out) {
    for (const char c : text) {
      if (c < '0' || c > '9') return false;
    }
    return std::from_chars(text.data(), text.data() + text.size(), out).ec == std::errc();
  }

  Value first(std::string_view name) {
    int64_t index = 0;
    if (name.empty()) {
      if (numbered_)
        raise("cannot switch from manual field specification to automatic field numbering");
      automatic_ = true;
      index = next_++;
    } else if (parse_index(name, index)) {
      if (automatic_)
        raise("cannot switch from automatic field numbering to manual field specification");
      numbered_ = true;
    } else {
      for (const auto& [key, value] : arguments_.named) {
        if (key == name) return value;
      }
      raise("{}", repr_string(name));
    }
    if (static_cast<size_t>(index) >= arguments_.positional.size()) {
      raise("Replacement index {} out of range for positional args tuple", index);
    }
    return arguments_.positional[static_cast<size_t>(index)];
  }

  std::string apply(const Value& v, const std::string& text) {
    if (text.empty()) return to_text(runtime_, v);
    if (v.is_string()) return apply_to_text(v.text(), parse_format_spec(text, '<'));
    if (!v.is_number()) raise("unsupported format string passed to {}.__format__", type_name(v));
    const FormatSpec spec = parse_format_spec(text, '>');
    const bool to_float = v.is(Kind::kFloat) || is_float_format(spec.type);
    check_separators(spec, to_float ? spec.type : spec.type ? spec.type : 'd');
    return to_float ? apply_to_float(v, spec) : apply_to_integer(v.as_int(), spec);
  }

  std::string apply_to_text(const std::string& text, const FormatSpec& spec) {
    if (spec.type && spec.type != 's')
      raise("Unknown format code '{}' for object of type 'str'", spec.type);
    check_separators(spec, 's');
    if (spec.sign) raise("Sign not allowed in string format specifier");
    if (spec.no_negative_zero) raise("Negative zero coercion (z) not allowed in format specifier");
    if (spec.alternate) raise("Alternate form (#) not allowed in string format specifier");
    if (spec.align == '=') raise("'=' alignment not allowed in string format specifier");
    return padded(runtime_, "", cut_to_precision(text, spec.precision), spec);
  }

  std::string apply_to_float(const Value& v, const FormatSpec& spec) {
    if (spec.type && !is_float_format(spec.type) && spec.type != 'n')
      raise("Unknown format code '{}' for object of type 'float'", spec.type);
    return format_float(runtime_, v.as_float(), spec);
  }

  std::string apply_to_integer(int64_t v, const FormatSpec& spec) {
    if (spec.type && !among(spec.type, "bdoxXnc"))
      raise("Unknown format code '{}' for object of type 'int'", spec.type);
    if (spec.precision >= 0) raise("Precision not allowed in integer format specifier");
    if (spec.no_negative_zero) raise("Negative zero coercion (z) not allowed in format specifier");
    if (spec.type != 'c') return format_integer(runtime_, v, spec);
    if (spec.sign || spec.alternate)
      raise("Sign and # not allowed with integer format specifier 'c'");
    return padded(runtime_, "", code_point_text(v), spec);
  }

  // Which types take separators of thousands.
  static void check_separators(const FormatSpec& spec, char type) {
    const bool decimal = type == '\0' || type == 'd' || is_float_format(type);
    if (spec.grouping && !decimal && !(spec.grouping == '_' && among(type, "boxX")))
      raise("Cannot specify '{}' with '{}'.", spec.grouping, type);
    if (spec.fraction_grouping && (!decimal || type == 'd'))
      raise("Cannot specify '{}' with '{}'.", spec.fraction_grouping, type);
  }

  static bool among(char c, std::string_view set) { return set.find(c) != set.npos; }

  Runtime& runtime_;
  bool markup_;
  const Arguments& arguments_;
  bool automatic_ = false, numbered_ = false;
  int64_t next_ = 0;
};

}  // namespace

Value format_braces(Runtime& runtime, const Value& format, const Arguments& arguments) {
  runtime.meter.step_text(format.text().size());
  const bool markup = format.string().markup;
  return runtime.string(BraceFormatter(runtime, markup, arguments).run(format.text(), 1), markup);
}

}  // namespace dsv3::jinja
