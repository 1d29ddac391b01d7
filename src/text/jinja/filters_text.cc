// Filters on text.

#include <algorithm>
#include <cmath>

#include "text/jinja/functions.h"
#include "text/jinja/objects.h"
#include "text/jinja/text.h"
#include "text/utf8.h"

namespace dsv3::jinja {
namespace {

// The input as text; Markup stays Markup.
Value soft_text(Runtime& runtime, const Value& v) {
  return v.is_string() ? v : runtime.string(to_text(runtime, v));
}

// A filter that is a method of the input's text.
Value by_method(Runtime& runtime, const Value& input, std::string_view method,
                Arguments arguments) {
  const Value text = soft_text(runtime, input);
  return find_method(runtime, text, method).native().call(runtime, arguments);
}

Value upper(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("upper", arguments, {});
  return by_method(runtime, input, "upper", {});
}
Value lower(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("lower", arguments, {});
  return by_method(runtime, input, "lower", {});
}
Value capitalize_filter(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("capitalize", arguments, {});
  return by_method(runtime, input, "capitalize", {});
}
Value trim(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("trim", arguments, {"chars"});
  Arguments chars;
  if (!args[0].is_missing()) chars.positional.push_back(args[0]);
  return by_method(runtime, input, "strip", std::move(chars));
}
Value center(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("center", arguments, {"width"});
  return by_method(runtime, input, "center",
                   {{args[0].is_missing() ? Value(int64_t{80}) : args[0]}, {}});
}

Value title(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("title", arguments, {});
  const std::string text = to_text(runtime, input);
  runtime.meter.step_text(text.size());
  std::string out;
  bool start = true;
  for (const std::string_view c : characters(text)) {
    const bool separates = is_space(utf8_decode(c.data())) ||
                           std::string_view("-({[<").find(c) != std::string_view::npos;
    out += separates ? std::string(c) : start ? to_upper(c) : to_lower(c);
    start = separates;
  }
  return runtime.string(std::move(out));
}

Value string_filter(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("string", arguments, {});
  return soft_text(runtime, input);
}

Value replace_filter(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("replace", arguments, {"old", "new", "count"}, 2);
  Arguments of_method;
  of_method.positional = {runtime.string(to_text(runtime, args[0])),
                          runtime.string(to_text(runtime, args[1]))};
  if (!args[2].is_missing() && !args[2].is_none()) of_method.positional.push_back(args[2]);
  const Value text = runtime.string(to_text(runtime, input));
  return find_method(runtime, text, "replace").native().call(runtime, of_method);
}

Value escape(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("escape", arguments, {});
  if (input.is_string() && input.string().markup) return input;
  return runtime.string(escape_html(to_text(runtime, input)), true);
}
Value force_escape(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("forceescape", arguments, {});
  return runtime.string(escape_html(to_text(runtime, input)), true);
}
Value safe(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("safe", arguments, {});
  return runtime.string(to_text(runtime, input), true);
}

Value indent(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("indent", arguments, {"width", "first", "blank"});
  require_defined(input);
  if (!input.is_string())
    raise("unsupported operand type(s) for +=: '{}' and 'str'", type_name(input));
  std::string by = "    ";
  if (args[0].is_string()) {
    by = args[0].text();
  } else if (!args[0].is_missing()) {
    const int64_t width = require_integer(args[0], "width");
    const size_t n = width > 0 ? static_cast<size_t>(width) : 0;
    runtime.meter.check_string(n);
    by.assign(n, ' ');
  }
  const bool first = truth(args[1]), blank = truth(args[2]);
  const std::string text = input.text() + "\n";
  const std::vector<std::string_view> lines = split_lines(text, false);
  runtime.meter.step(lines.size());
  std::string out = first ? by : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    runtime.meter.check_string(out.size() + by.size() + lines[i].size());
    runtime.meter.step_text(by.size());
    if (i > 0) {
      out += '\n';
      if (blank || !lines[i].empty()) out += by;
    }
    out += lines[i];
  }
  return runtime.string(std::move(out), input.string().markup);
}

Value truncate(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const int64_t length = args[0].is_missing() ? 255 : require_integer(args[0], "length");
  const std::string end = args[2].is_missing() ? "..." : require_string(args[2], "end");
  const int64_t leeway =
      args[3].is_missing() || args[3].is_none() ? 5 : require_integer(args[3], "leeway");
  const auto end_length = static_cast<int64_t>(count_characters(end));
  if (length < end_length) raise("expected length >= {}, got {}", end_length, length);
  if (leeway < 0) raise("expected leeway >= 0, got {}", leeway);
  // Anything that has a length passes, if it is short.
  const int64_t size = length_of(input);
  if (size < 0) raise("object of type '{}' has no len()", type_name(input));
  if (size - leeway <= length) return input;
  const std::string& text = require_string(input, "input of truncate");
  std::string kept = text.substr(0, byte_offset(text, static_cast<size_t>(length - end_length)));
  if (!truth(args[1])) {
    const size_t space = kept.rfind(' ');
    if (space != std::string::npos) kept.resize(space);
  }
  return runtime.string(kept + end);
}

Value wordcount(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("wordcount", arguments, {});
  const std::string text = to_text(runtime, input);
  runtime.meter.step_text(text.size());
  int64_t n = 0;
  bool inside = false;
  for (const std::string_view c : characters(text)) {
    const bool word = is_word(utf8_decode(c.data()));
    n += word && !inside;
    inside = word;
  }
  return Value(n);
}

// Words with their spaces, as Python's textwrap cuts them (its rule for hyphens: after one that
// stands between letters).
std::vector<std::string> chunks_of(std::string_view line, bool break_on_hyphens) {
  std::vector<std::string> chunks;
  const auto all = characters(line);
  const auto at = [&](size_t i) { return utf8_decode(all[i].data()); };
  const auto is_blank = [](char32_t c) { return c == ' ' || (c >= 9 && c <= 13); };
  const auto is_letter_or_mark = [](char32_t c) { return is_word(c) && !is_decimal(c); };
  for (size_t i = 0; i < all.size();) {
    std::string chunk;
    const bool blank = is_blank(at(i));
    while (i < all.size() && is_blank(at(i)) == blank) {
      chunk += all[i++];
      const size_t n = i;
      if (!blank && break_on_hyphens && at(n - 1) == '-' && n >= 3 && n + 1 < all.size() &&
          is_letter_or_mark(at(n - 2)) && is_letter_or_mark(at(n - 3)) &&
          is_letter_or_mark(at(n)) && is_letter_or_mark(at(n + 1))) {
        break;
      }
    }
    chunks.push_back(std::move(chunk));
  }
  return chunks;
}

Value wordwrap(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("wordwrap", arguments,
                                   {"width", "break_long_words", "wrapstring", "break_on_hyphens"});
  const std::string& text = require_string(input, "input of wordwrap");
  const int64_t given = args[0].is_missing() ? 79 : require_integer(args[0], "width");
  if (given <= 0) raise("invalid width {} (must be > 0)", given);
  const auto width = static_cast<size_t>(given);
  const bool break_long = args[1].is_missing() || truth(args[1]);
  const std::string newline =
      args[2].is_missing() || args[2].is_none() ? "\n" : require_string(args[2], "wrapstring");
  const bool hyphens = args[3].is_missing() || truth(args[3]);
  runtime.meter.step(text.size());
  std::string out;
  bool first_line = true;
  const auto emit = [&](std::string_view line) {
    runtime.meter.check_string(out.size() + newline.size() + line.size());
    runtime.meter.step_text(newline.size());
    if (!first_line) out += newline;
    first_line = false;
    out += line;
  };
  for (const std::string_view paragraph : split_lines(text, false)) {
    std::vector<std::string> chunks = chunks_of(paragraph, hyphens);
    std::reverse(chunks.begin(), chunks.end());
    bool any = false;
    while (!chunks.empty()) {
      std::vector<std::string> line;
      size_t length = 0;
      if (any && strip(chunks.back(), kBoth).empty()) chunks.pop_back();
      while (!chunks.empty() && length + count_characters(chunks.back()) <= width) {
        length += count_characters(chunks.back());
        line.push_back(std::move(chunks.back()));
        chunks.pop_back();
      }
      if (!chunks.empty() && count_characters(chunks.back()) > width) {
        if (break_long && length < width) {
          const size_t cut = byte_offset(chunks.back(), width - length);
          line.push_back(chunks.back().substr(0, cut));
          chunks.back().erase(0, cut);
        } else if (!break_long && line.empty()) {
          line.push_back(std::move(chunks.back()));
          chunks.pop_back();
        }
      }
      if (!line.empty() && strip(line.back(), kBoth).empty()) line.pop_back();
      if (line.empty()) continue;
      std::string joined;
      for (const std::string& chunk : line) joined += chunk;
      emit(joined);
      any = true;
    }
    if (!any) emit("");
  }
  return runtime.string(std::move(out));
}

std::string url_quoted(std::string_view text, bool query) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '.' || c == '-' || c == '~' || (c == '/' && !query);
    if (plain)
      out += c;
    else if (c == ' ' && query)
      out += '+';
    else
      out += fmt::format("%{:02X}", byte);
  }
  return out;
}

Value urlencode(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("urlencode", arguments, {});
  if (input.is_string() || !is_iterable(input)) {
    return runtime.string(url_quoted(to_text(runtime, input), false));
  }
  std::string out;
  const auto add = [&](const Value& key, const Value& value) {
    if (!out.empty()) out += '&';
    out +=
        url_quoted(to_text(runtime, key), true) + "=" + url_quoted(to_text(runtime, value), true);
    runtime.meter.check_string(out.size());
  };
  if (input.is(Kind::kDict)) {
    for (const auto& [key, value] : input.dict().items) add(key, value);
  } else {
    for (const Value& item : Items(runtime, input)) {
      const Items pair(runtime, item);
      if (pair.size() != 2) raise("cannot unpack {} values into 2", pair.size());
      add(pair[0], pair[1]);
    }
  }
  return runtime.string(std::move(out));
}

Value xmlattr(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args = bind_arguments("xmlattr", arguments, {"autospace"});
  require_defined(input);
  if (!input.is(Kind::kDict)) raise("xmlattr needs a mapping, not {}", type_name(input));
  std::string out;
  for (const auto& [key, value] : input.dict().items) {
    if (value.is_none() || value.is_undefined()) continue;
    const std::string& name = require_string(key, "attribute name");
    if (name.find_first_of(" \t\n\r\f\v/>=") != std::string::npos) {
      raise("Invalid character in attribute name: {}", repr_string(name));
    }
    const auto escaped = [&](const Value& v) {
      return v.is_string() && v.string().markup ? v.text() : escape_html(to_text(runtime, v));
    };
    if (!out.empty()) out += ' ';
    out += escaped(key) + "=\"" + escaped(value) + "\"";
    runtime.meter.check_string(out.size());
  }
  const bool space = args[0].is_missing() || truth(args[0]);
  if (space && !out.empty()) out.insert(out.begin(), ' ');
  return runtime.string(std::move(out));
}

// Text between < and > is dropped, the rest joined with single spaces, entities resolved.
Value striptags(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("striptags", arguments, {});
  std::string text = to_text(runtime, input), rest;
  runtime.meter.step_text(text.size());
  const auto drop = [&](std::string_view open, std::string_view close) {
    size_t done = 0;
    for (size_t at = find(text, open); at != kNotFound; at = find(text, open, done)) {
      const size_t end = find(text, close, at);
      if (end == kNotFound) break;
      rest += text.substr(done, at - done);
      done = end + close.size();
    }
    rest += text.substr(done);
    text = std::exchange(rest, "");
  };
  drop("<!--", "-->");
  drop("<", ">");
  for (const std::string_view word : split_space(text, -1, false)) {
    if (!rest.empty()) rest += ' ';
    rest += word;
  }
  static constexpr std::pair<std::string_view, std::string_view> kEntities[] = {
      {"&lt;", "<"},  {"&gt;", ">"},          {"&quot;", "\""}, {"&#34;", "\""},
      {"&#39;", "'"}, {"&nbsp;", "\xC2\xA0"}, {"&amp;", "&"}};
  for (const auto& [entity, character] : kEntities) rest = replace(rest, entity, character, -1);
  return runtime.string(std::move(rest));
}

Value format_filter(Runtime& runtime, const Value& input, Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty()) {
    raise("can't handle positional and keyword arguments at the same time");
  }
  Value values = runtime.tuple(arguments.positional);
  if (!arguments.named.empty()) {
    Ref<Dict> named(new Dict(&runtime.meter));
    for (const auto& [name, value] : arguments.named)
      named->set(runtime.string(name), value, runtime.meter);
    values = Value(Kind::kDict, named.get());
  }
  return format_percent(runtime, soft_text(runtime, input), values);
}

Value tojson(Runtime& runtime, const Value& input, Arguments& arguments) {
  const auto args =
      bind_arguments("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = truth(args[0]);
  style.sort_keys = truth(args[3]);
  if (args[1].is_string()) {
    style.indent = args[1].text();
  } else if (!args[1].is_missing() && !args[1].is_none()) {
    const int64_t width = require_integer(args[1], "indent");
    runtime.meter.check_string(static_cast<size_t>(std::max<int64_t>(width, 0)));
    style.indent = std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  if (style.indent) style.item_separator = ",";
  if (!args[2].is_missing() && !args[2].is_none()) {
    const Items separators(runtime, args[2]);
    if (separators.size() != 2) raise("separators must be two strings");
    style.item_separator = require_string(separators[0], "separator");
    style.key_separator = require_string(separators[1], "separator");
  }
  return runtime.string(to_json(runtime, input, style));
}

Value pprint(Runtime& runtime, const Value& input, Arguments& arguments) {
  bind_arguments("pprint", arguments, {});
  std::string text = repr(runtime, input);
  // Python breaks longer texts into lines; that layout is for debugging and not reproduced.
  return runtime.string(std::move(text));
}

Value urlize(Runtime&, const Value&, Arguments&) { raise("the filter urlize is not supported"); }

}  // namespace

const std::vector<FilterEntry>& text_filters() {
  static const std::vector<FilterEntry> filters = {{"upper", upper},
                                                   {"lower", lower},
                                                   {"capitalize", capitalize_filter},
                                                   {"title", title},
                                                   {"trim", trim},
                                                   {"center", center},
                                                   {"string", string_filter},
                                                   {"replace", replace_filter},
                                                   {"escape", escape},
                                                   {"e", escape},
                                                   {"forceescape", force_escape},
                                                   {"safe", safe},
                                                   {"indent", indent},
                                                   {"truncate", truncate},
                                                   {"wordcount", wordcount},
                                                   {"wordwrap", wordwrap},
                                                   {"urlencode", urlencode},
                                                   {"xmlattr", xmlattr},
                                                   {"striptags", striptags},
                                                   {"format", format_filter},
                                                   {"tojson", tojson},
                                                   {"pprint", pprint},
                                                   {"urlize", urlize}};
  return filters;
}

}  // namespace dsv3::jinja
