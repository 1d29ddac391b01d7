#include <algorithm>
#include <unordered_map>

#include "text/jinja/objects.h"
#include "text/jinja/text.h"
#include "text/utf8.h"

namespace dsv3::jinja {
namespace {

using Method = Function::Body;
using MethodTable = std::unordered_map<std::string_view, Method>;

// The meter pays for reading the text once; what a method makes is paid by what makes the value.
const String& self_string(Runtime& runtime, const Value& self) {
  runtime.meter.step_text(self.text().size());
  return self.string();
}

Value like(Runtime& runtime, const String& s, std::string text) {
  return runtime.string(std::move(text), s.markup);
}
Value like(Runtime& runtime, const String& s, std::string_view text) {
  return runtime.string(text, s.markup);
}

// Of an argument that becomes a part of the result: Markup takes anything, and escapes it.
std::string inserted(Runtime& runtime, const String& into, const Value& v, std::string_view what) {
  if (!into.markup || (v.is_string() && v.string().markup)) return require_string(v, what);
  return escape_html(to_text(runtime, v));
}

template <std::string (*f)(std::string_view)>
Value mapped(Runtime& runtime, const Value& self, Arguments& arguments) {
  bind_arguments("method", arguments, {});
  const String& s = self_string(runtime, self);
  return like(runtime, s, f(s.text));
}

template <Sides sides>
Value strip_method(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("strip", arguments, {"chars"});
  const String& s = self_string(runtime, self);
  if (args[0].is_missing() || args[0].is_none()) return like(runtime, s, strip(s.text, sides));
  return like(runtime, s, strip(s.text, require_string(args[0], "strip arg"), sides));
}

template <bool from_right>
Value split_method(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("split", arguments, {"sep", "maxsplit"});
  const String& s = self_string(runtime, self);
  const int64_t limit = args[1].is_missing() ? -1 : require_integer(args[1], "maxsplit");
  if (args[0].is_missing() || args[0].is_none()) {
    return runtime.strings(split_space(s.text, limit, from_right, runtime.meter.max_items()),
                           s.markup);
  }
  const std::string& separator = require_string(args[0], "separator");
  if (separator.empty()) raise("empty separator");
  // Each piece costs more than its text: let the meter stop before all are made.
  runtime.meter.check_items(count(s.text, separator));
  return runtime.strings(split(s.text, separator, limit, from_right), s.markup);
}

Value splitlines(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("splitlines", arguments, {"keepends"});
  const String& s = self_string(runtime, self);
  return runtime.strings(split_lines(s.text, truth(args[0]), runtime.meter.max_items()), s.markup);
}

template <bool from_right>
Value partition(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("partition", arguments, {"sep"}, 1);
  const String& s = self_string(runtime, self);
  const std::string& separator = require_string(args[0], "separator");
  if (separator.empty()) raise("empty separator");
  const std::string_view text = s.text;
  const size_t at = from_right ? rfind(text, separator) : find(text, separator);
  const auto make = [&](std::string_view a, std::string_view b, std::string_view c) {
    return runtime.tuple({like(runtime, s, a), like(runtime, s, b), like(runtime, s, c)});
  };
  if (at == kNotFound) return from_right ? make("", "", text) : make(text, "", "");
  return make(text.substr(0, at), separator, text.substr(at + separator.size()));
}

// The part of a text that optional arguments `start` and `end` choose; `offset` in characters.
struct Window {
  std::string_view text;
  int64_t offset = 0;
  bool valid = true;  // false where start is beyond the end: nothing is found, not even ""
};

Window window(const String& s, const Value& start, const Value& end) {
  const auto length = static_cast<int64_t>(s.length);
  const auto place = [&](const Value& v, int64_t absent) {
    if (v.is_missing() || v.is_none()) return absent;
    const int64_t i = require_integer(v, "slice index");
    return i < 0 ? std::max<int64_t>(i < -length ? 0 : i + length, 0) : i;
  };
  const int64_t from = place(start, 0), to = std::min(place(end, length), length);
  if (from > to) return {"", 0, false};
  const size_t begin = byte_offset(s.text, static_cast<size_t>(from));
  const std::string_view rest = std::string_view(s.text).substr(begin);
  return {rest.substr(0, byte_offset(rest, static_cast<size_t>(to - from))), from, true};
}

template <bool from_right, bool must_be_found>
Value find_method_of_string(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("find", arguments, {"sub", "start", "end"}, 1);
  const String& s = self_string(runtime, self);
  const std::string& part = require_string(args[0], "find() argument 1");
  const Window w = window(s, args[1], args[2]);
  size_t at = kNotFound;
  if (w.valid) at = from_right ? rfind(w.text, part) : find(w.text, part);
  if (at == kNotFound) {
    if (must_be_found) raise("substring not found");
    return Value(int64_t{-1});
  }
  return Value(w.offset + static_cast<int64_t>(count_characters(w.text.substr(0, at))));
}

Value count_method(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("count", arguments, {"sub", "start", "end"}, 1);
  const String& s = self_string(runtime, self);
  const std::string& part = require_string(args[0], "count() argument 1");
  const Window w = window(s, args[1], args[2]);
  return Value(w.valid ? static_cast<int64_t>(count(w.text, part)) : int64_t{0});
}

template <bool at_start>
Value affix_method(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments(at_start ? "startswith" : "endswith", arguments,
                                   {"prefix", "start", "end"}, 1);
  const String& s = self_string(runtime, self);
  const Window w = window(s, args[1], args[2]);
  const auto matches = [&](const Value& v) {
    const std::string& affix = require_string(v, "startswith or endswith argument");
    return w.valid && (at_start ? w.text.starts_with(affix) : w.text.ends_with(affix));
  };
  if (!args[0].is(Kind::kTuple)) return Value(matches(args[0]));
  const auto& affixes = args[0].sequence().items;
  return Value(std::any_of(affixes.begin(), affixes.end(), matches));
}

Value replace_method(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("replace", arguments, {"old", "new", "count"}, 2);
  const String& s = self_string(runtime, self);
  const std::string& from = require_string(args[0], "replace() argument 1");
  const std::string to = inserted(runtime, s, args[1], "replace() argument 2");
  const int64_t limit = args[2].is_missing() ? -1 : require_integer(args[2], "count");
  const size_t found = count(s.text, from);
  size_t added = 0;
  if (__builtin_mul_overflow(found, to.size(), &added)) added = SIZE_MAX / 2;
  if (limit < 0) runtime.meter.check_string(added);
  runtime.meter.step(found);
  return like(runtime, s, replace(s.text, from, to, limit));
}

Value join_method(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("join", arguments, {"iterable"}, 1);
  const String& s = self_string(runtime, self);
  std::string out;
  bool first = true;
  for (const Value& v : Items(runtime, args[0])) {
    const std::string item = inserted(runtime, s, v, "item of join()");
    runtime.meter.check_string(out.size() + s.text.size() + item.size());
    runtime.meter.step();
    if (!first) out += s.text;
    first = false;
    out += item;
  }
  return like(runtime, s, std::move(out));
}

Value format_method(Runtime& runtime, const Value& self, Arguments& arguments) {
  return format_braces(runtime, self, arguments);
}

Value format_map(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("format_map", arguments, {"mapping"}, 1);
  if (!args[0].is(Kind::kDict)) raise("format_map() needs a mapping");
  Arguments named;
  for (const auto& [key, value] : args[0].dict().items) {
    if (key.is_string()) named.named.emplace_back(key.text(), value);
  }
  return format_braces(runtime, self, named);
}

template <bool prefix>
Value remove_affix(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("removeprefix", arguments, {"affix"}, 1);
  const String& s = self_string(runtime, self);
  const std::string& affix = require_string(args[0], "affix");
  std::string_view text = s.text;
  if (prefix && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (!prefix && text.ends_with(affix)) text.remove_suffix(affix.size());
  return like(runtime, s, text);
}

enum class Side : uint8_t { kLeft, kRight, kMiddle };

template <Side text_side>
Value justify(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("justify", arguments, {"width", "fillchar"}, 1);
  const String& s = self_string(runtime, self);
  const int64_t width = require_integer(args[0], "width");
  std::string fill = " ";
  if (!args[1].is_missing()) {
    fill = inserted(runtime, s, args[1], "fill character");
    if (count_characters(fill) != 1) raise("The fill character must be exactly one character long");
  }
  const auto length = static_cast<int64_t>(s.length);
  if (width <= length) return like(runtime, s, s.text);
  const auto missing = static_cast<size_t>(width - length);
  runtime.meter.check_string(missing);
  runtime.meter.check_string(missing * fill.size());
  runtime.meter.step_text(missing * fill.size());
  size_t left = 0;
  if (text_side == Side::kRight) left = missing;
  // Python gives the odd one to the left where the width is odd too.
  if (text_side == Side::kMiddle) left = missing / 2 + (missing & static_cast<size_t>(width) & 1);
  std::string out;
  for (size_t i = 0; i < left; ++i) out += fill;
  out += s.text;
  for (size_t i = left; i < missing; ++i) out += fill;
  return like(runtime, s, std::move(out));
}

Value zfill(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("zfill", arguments, {"width"}, 1);
  const String& s = self_string(runtime, self);
  const int64_t width = require_integer(args[0], "width"), length = static_cast<int64_t>(s.length);
  if (width <= length) return like(runtime, s, s.text);
  runtime.meter.check_string(static_cast<size_t>(width));
  const bool sign = !s.text.empty() && (s.text[0] == '+' || s.text[0] == '-');
  return like(runtime, s,
              s.text.substr(0, sign) + std::string(static_cast<size_t>(width - length), '0') +
                  s.text.substr(sign));
}

Value expandtabs(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("expandtabs", arguments, {"tabsize"});
  const String& s = self_string(runtime, self);
  const int64_t size = args[0].is_missing() ? 8 : require_integer(args[0], "tabsize");
  std::string out;
  int64_t column = 0;
  for (const std::string_view c : Characters(s.text)) {
    if (c == "\t") {
      const int64_t n = size > 0 ? size - column % size : 0;
      runtime.meter.check_string(out.size() + static_cast<size_t>(n));
      out.append(static_cast<size_t>(n), ' ');
      column += n;
    } else {
      out += c;
      column = c == "\n" || c == "\r" ? 0 : column + 1;
    }
  }
  return like(runtime, s, std::move(out));
}

template <bool (*is)(char32_t)>
Value all_are(Runtime& runtime, const Value& self, Arguments&) {
  const String& s = self_string(runtime, self);
  for (const std::string_view c : Characters(s.text)) {
    if (!is(utf8_decode(c.data()))) return Value(false);
  }
  return Value(!s.text.empty());
}

bool is_alphanumeric(char32_t c) {
  return is_letter(c) || is_decimal(c) || is_digit(c) || is_numeric(c);
}

// islower and isupper: no cased letter of the other kind, and at least one of this.
template <bool (*wanted)(char32_t), bool (*other)(char32_t)>
Value all_cased_are(Runtime& runtime, const Value& self, Arguments&) {
  bool found = false;
  for (const std::string_view text : Characters(self_string(runtime, self).text)) {
    const char32_t c = utf8_decode(text.data());
    if (other(c) || is_title(c)) return Value(false);
    found |= wanted(c);
  }
  return Value(found);
}

Value istitle(Runtime& runtime, const Value& self, Arguments&) {
  bool found = false, inside = false;
  for (const std::string_view text : Characters(self_string(runtime, self).text)) {
    const char32_t c = utf8_decode(text.data());
    const bool capital = is_upper(c) || is_title(c), small = is_lower(c);
    if ((capital && inside) || (small && !inside)) return Value(false);
    inside = capital || small;
    found |= inside;
  }
  return Value(found);
}

Value isprintable(Runtime& runtime, const Value& self, Arguments&) {
  for (const std::string_view c : Characters(self_string(runtime, self).text)) {
    if (!is_printable(utf8_decode(c.data()))) return Value(false);
  }
  return Value(true);
}

Value isascii(Runtime&, const Value& self, Arguments&) { return Value(self.string().ascii()); }

Value isidentifier(Runtime& runtime, const Value& self, Arguments&) {
  bool first = true;
  for (const std::string_view text : Characters(self_string(runtime, self).text)) {
    const char32_t c = utf8_decode(text.data());
    if (!(first ? is_identifier_start(c) : is_identifier_part(c))) return Value(false);
    first = false;
  }
  return Value(!first);
}

// ---- lists and tuples ----

Value index_of_item(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("index", arguments, {"value"}, 1);
  const auto& items = self.sequence().items;
  for (size_t i = 0; i < items.size(); ++i) {
    if (equal(items[i], args[0], runtime.meter)) return Value(static_cast<int64_t>(i));
  }
  raise("{} is not in {}", repr(runtime, args[0]), type_name(self));
}

Value count_items(Runtime& runtime, const Value& self, Arguments& arguments) {
  const auto args = bind_arguments("count", arguments, {"value"}, 1);
  int64_t n = 0;
  for (const Value& v : self.sequence().items) n += equal(v, args[0], runtime.meter);
  return Value(n);
}

Value copy(Runtime&, const Value& self, Arguments&) { return self; }

// ---- dictionaries ----

Value get(Runtime& runtime, const Value& self, Arguments& arguments) {
  if (!arguments.named.empty()) raise("dict.get() takes no keyword arguments");
  const auto args = bind_arguments("get", arguments, {"key", "default"}, 1);
  const Value* found = self.dict().find(args[0], runtime.meter);
  if (found) return *found;
  return args[1].is_missing() ? Value::none() : args[1];
}

template <DictView::Part part>
Value view(Runtime& runtime, const Value& self, Arguments& arguments) {
  bind_arguments("view", arguments, {});
  return make_object<DictView>(runtime.meter, self, part);
}

const MethodTable& string_methods() {
  static const MethodTable table = {{"upper", mapped<to_upper>},
                                    {"lower", mapped<to_lower>},
                                    {"casefold", mapped<fold_case>},
                                    {"title", mapped<to_title>},
                                    {"capitalize", mapped<capitalize>},
                                    {"swapcase", mapped<swap_case>},
                                    {"strip", strip_method<kBoth>},
                                    {"lstrip", strip_method<kLeft>},
                                    {"rstrip", strip_method<kRight>},
                                    {"split", split_method<false>},
                                    {"rsplit", split_method<true>},
                                    {"splitlines", splitlines},
                                    {"partition", partition<false>},
                                    {"rpartition", partition<true>},
                                    {"find", find_method_of_string<false, false>},
                                    {"rfind", find_method_of_string<true, false>},
                                    {"index", find_method_of_string<false, true>},
                                    {"rindex", find_method_of_string<true, true>},
                                    {"count", count_method},
                                    {"startswith", affix_method<true>},
                                    {"endswith", affix_method<false>},
                                    {"replace", replace_method},
                                    {"join", join_method},
                                    {"format", format_method},
                                    {"format_map", format_map},
                                    {"removeprefix", remove_affix<true>},
                                    {"removesuffix", remove_affix<false>},
                                    {"ljust", justify<Side::kLeft>},
                                    {"rjust", justify<Side::kRight>},
                                    {"center", justify<Side::kMiddle>},
                                    {"zfill", zfill},
                                    {"expandtabs", expandtabs},
                                    {"isalpha", all_are<is_letter>},
                                    {"isdigit", all_are<is_digit>},
                                    {"isdecimal", all_are<is_decimal>},
                                    {"isnumeric", all_are<is_numeric>},
                                    {"isalnum", all_are<is_alphanumeric>},
                                    {"isspace", all_are<is_space>},
                                    {"islower", all_cased_are<is_lower, is_upper>},
                                    {"isupper", all_cased_are<is_upper, is_lower>},
                                    {"istitle", istitle},
                                    {"isascii", isascii},
                                    {"isprintable", isprintable},
                                    {"isidentifier", isidentifier}};
  return table;
}

const MethodTable& sequence_methods() {
  static const MethodTable table = {{"index", index_of_item}, {"count", count_items}};
  return table;
}

const MethodTable& dict_methods() {
  static const MethodTable table = {{"get", get},
                                    {"keys", view<DictView::kKeys>},
                                    {"values", view<DictView::kValues>},
                                    {"items", view<DictView::kItems>},
                                    {"copy", copy}};
  return table;
}

// What Jinja's immutable sandbox refuses.
bool would_change(const Value& object, std::string_view name) {
  static constexpr std::string_view kList[] = {"append", "clear", "pop",    "reverse",
                                               "insert", "sort",  "extend", "remove"};
  static constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  const auto among = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  return (object.is(Kind::kList) && among(kList)) || (object.is(Kind::kDict) && among(kDict));
}

}  // namespace

Value find_method(Runtime& runtime, const Value& object, std::string_view name) {
  const MethodTable* table = nullptr;
  if (object.is_string())
    table = &string_methods();
  else if (object.is_sequence())
    table = &sequence_methods();
  else if (object.is(Kind::kDict))
    table = &dict_methods();
  if (!table) return Value();
  if (would_change(object, name) || name == "__class__") {
    return runtime.undefined(
        fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, type_name(object)));
  }
  if (object.is(Kind::kList) && name == "copy") {
    return make_object<Function>(&runtime.meter, "copy", copy, object);
  }
  const auto found = table->find(name);
  if (found == table->end()) return Value();
  return make_object<Function>(&runtime.meter, found->first, found->second, object);
}

}  // namespace dsv3::jinja
