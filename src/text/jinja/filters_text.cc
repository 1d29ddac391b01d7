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
  const auto separates = [](std::string_view c) {
    return is_space(utf8_decode(c.data())) ||
           std::string_view("-({[<").find(c) != std::string_view::npos;
  };
  std::string out;
  std::string_view word;
  const auto end_word = [&] {
    if (word.empty()) return;
    const size_t first = utf8_length(static_cast<uint8_t>(word[0]));
    out += to_upper(word.substr(0, first)) + to_lower(word.substr(first));
    word = {};
  };
  for (const std::string_view c : Characters(text)) {
    if (separates(c)) {
      end_word();
      out += c;
    } else {
      word = {word.empty() ? c.data() : word.data(), word.size() + c.size()};
    }
  }
  end_word();
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
  const auto lines = split_lines(text, false, runtime.meter.max_items());
  runtime.meter.check_items(lines.size());
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
  for (const std::string_view c : Characters(text)) {
    const bool word = is_word(utf8_decode(c.data()));
    n += word && !inside;
    inside = word;
  }
  return Value(n);
}

// Text that wordwrap keeps on one line if it can.
struct Chunk {
  std::string_view text;
  size_t length;  // characters
};

// Takes a line apart into words and the white space between them, as Python's textwrap does: a word
// may also end after a hyphen between letters, and around a dash of several hyphens.
class ChunkSplitter {
 public:
  ChunkSplitter(std::string_view line, bool break_on_hyphens)
      : line_(line), hyphens_(break_on_hyphens) {
    size_t at = 0;
    for (const std::string_view c : Characters(line)) {
      codes_.push_back(utf8_decode(c.data()));
      starts_.push_back(at);
      at += c.size();
    }
    starts_.push_back(at);
  }

  std::vector<Chunk> run() const {
    std::vector<Chunk> chunks;
    for (size_t begin = 0; begin < codes_.size();) {
      size_t end = begin + 1;
      if (is_blank(begin)) {
        while (end < codes_.size() && is_blank(end)) ++end;
      } else if (hyphens_ && dash_end(begin) > 0) {
        end = dash_end(begin);
      } else {
        end = word_end(begin);
      }
      chunks.push_back({line_.substr(starts_[begin], starts_[end] - starts_[begin]), end - begin});
      begin = end;
    }
    return chunks;
  }

 private:
  bool is_blank(size_t i) const {
    return codes_[i] == ' ' || (codes_[i] >= '\t' && codes_[i] <= '\r');
  }
  bool is_hyphen(size_t i) const { return i < codes_.size() && codes_[i] == '-'; }
  // A letter or a mark.
  bool is_lettery(size_t i) const {
    return i < codes_.size() && is_word(codes_[i]) && !is_decimal(codes_[i]);
  }
  bool is_word_or_punctuation(size_t i) const {
    const char32_t c = codes_[i];
    return is_word(c) || (c < 0x80 && std::string_view("!\"'&.,?").find(static_cast<char>(c)) !=
                                          std::string_view::npos);
  }

  // The end of several hyphens that begin at `i` between words; 0 where there are none.
  size_t dash_end(size_t i) const {
    if (i == 0 || !is_word_or_punctuation(i - 1) || !is_hyphen(i) || !is_hyphen(i + 1)) return 0;
    size_t end = i;
    while (is_hyphen(end)) ++end;
    return end < codes_.size() && is_word(codes_[end]) ? end : 0;
  }

  // Whether a word can be broken after the hyphen at `i`.
  bool breaks_after(size_t i) const {
    const bool after_letters = i >= 2 && is_lettery(i - 1) && is_lettery(i - 2);
    const bool after_one =
        i >= 3 && is_word_or_punctuation(i - 1) && is_hyphen(i - 2) && is_lettery(i - 3);
    if (!after_letters && !after_one) return false;
    return is_lettery(i + 1) && (is_lettery(i + 2) || (is_hyphen(i + 2) && is_lettery(i + 3)));
  }

  size_t word_end(size_t begin) const {
    size_t end = begin + 1;
    for (; end < codes_.size() && !is_blank(end); ++end) {
      if (!hyphens_ || !is_hyphen(end)) continue;
      if (breaks_after(end)) return end + 1;
      if (dash_end(end) > 0) return end;
    }
    return end;
  }

  std::string_view line_;
  std::vector<char32_t> codes_;
  std::vector<size_t> starts_;  // bytes, and the end
  bool hyphens_;
};

// How many characters of a word of `chunk` fit in `space`: up to a hyphen, if there is one.
size_t broken_at(std::string_view chunk, size_t space, bool hyphens) {
  const std::string_view head = chunk.substr(0, byte_offset(chunk, space));
  const size_t hyphen = hyphens ? head.rfind('-') : head.npos;
  if (hyphen == head.npos || head.substr(0, hyphen).find_first_not_of('-') == head.npos) {
    return head.size();
  }
  return hyphen + 1;
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
  const auto is_blank = [](std::string_view chunk) { return strip(chunk, kBoth).empty(); };
  // No more lines than characters, which are paid already.
  for (const std::string_view paragraph : split_lines(text, false, text.size())) {
    std::vector<Chunk> chunks = ChunkSplitter(paragraph, hyphens).run();
    std::reverse(chunks.begin(), chunks.end());
    bool any = false;
    while (!chunks.empty()) {
      if (any && is_blank(chunks.back().text)) chunks.pop_back();
      std::vector<std::string_view> line;
      size_t length = 0;
      for (; !chunks.empty() && length + chunks.back().length <= width; chunks.pop_back()) {
        length += chunks.back().length;
        line.push_back(chunks.back().text);
      }
      if (!chunks.empty() && chunks.back().length > width) {
        Chunk& next = chunks.back();
        if (break_long && length < width) {
          const size_t cut = broken_at(next.text, width - length, hyphens);
          line.push_back(next.text.substr(0, cut));
          next = {next.text.substr(cut), next.length - count_characters(line.back())};
        } else if (line.empty()) {
          line.push_back(next.text);
          chunks.pop_back();
        }
      }
      if (!line.empty() && is_blank(line.back())) line.pop_back();
      if (line.empty()) continue;
      std::string joined;
      for (const std::string_view chunk : line) joined += chunk;
      emit(joined);
      any = true;
    }
    if (!any) emit("");
  }
  return runtime.string(std::move(out));
}

std::string url_quoted(std::string_view text, bool query) {
  static constexpr std::string_view kHexDigits = "0123456789ABCDEF";
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
      out += {'%', kHexDigits[byte >> 4], kHexDigits[byte & 15]};
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

// Text between < and > is dropped, the rest joined with single spaces, entities resolved: of the
// thousands that HTML has, those that escaping makes.
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
  const auto words = split_space(text, -1, false, runtime.meter.max_items());
  runtime.meter.check_items(words.size());
  for (const std::string_view word : words) {
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
  return runtime.string(pretty(runtime, input));
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
