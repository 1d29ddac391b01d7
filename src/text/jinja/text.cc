#include "text/jinja/text.h"

#include <algorithm>
#include <cstring>

#include "text/utf8.h"

namespace dsv3::jinja {
namespace {

template <typename F>
void each_character(std::string_view s, F f) {
  for (const char *p = s.data(), *end = p + s.size(); p < end;) {
    const char32_t c = utf8_decode(p);
    f(c);
    p += utf8_length(static_cast<uint8_t>(*p));
  }
}

template <typename Matches>
std::string_view strip_where(std::string_view s, Sides sides, Matches matches) {
  const char *begin = s.data(), *end = begin + s.size();
  if (sides & kLeft) {
    while (begin < end && matches(utf8_decode(begin))) {
      begin += utf8_length(static_cast<uint8_t>(*begin));
    }
  }
  if (sides & kRight) {
    while (end > begin) {
      const char* last = utf8_previous(end);
      if (!matches(utf8_decode(last))) break;
      end = last;
    }
  }
  return {begin, static_cast<size_t>(end - begin)};
}

bool is_line_end(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

}  // namespace

size_t count_characters(std::string_view s) {
  size_t n = 0;
  for (const char c : s) n += (static_cast<uint8_t>(c) & 0xC0) != 0x80;
  return n;
}

size_t byte_offset(std::string_view s, size_t index) {
  size_t at = 0;
  while (index > 0 && at < s.size()) {
    at += utf8_length(static_cast<uint8_t>(s[at]));
    --index;
  }
  return at;
}

Characters::Iterator::Iterator(std::string_view rest)
    : rest_(rest), length_(rest.empty() ? 0 : utf8_length(static_cast<uint8_t>(rest[0]))) {}

Characters::Iterator& Characters::Iterator::operator++() {
  return *this = Iterator(rest_.substr(length_));
}

std::string_view strip(std::string_view s, Sides sides) { return strip_where(s, sides, is_space); }

std::string_view strip(std::string_view s, std::string_view chars, Sides sides) {
  std::vector<char32_t> set;
  each_character(chars, [&](char32_t c) { set.push_back(c); });
  std::sort(set.begin(), set.end());
  return strip_where(s, sides,
                     [&](char32_t c) { return std::binary_search(set.begin(), set.end(), c); });
}

size_t find(std::string_view s, std::string_view part, size_t from) {
  if (from > s.size()) return kNotFound;
  if (part.empty()) return from;
  const void* at = part.size() == 1
                       ? std::memchr(s.data() + from, part[0], s.size() - from)
                       : memmem(s.data() + from, s.size() - from, part.data(), part.size());
  return at ? static_cast<size_t>(static_cast<const char*>(at) - s.data()) : kNotFound;
}

size_t rfind(std::string_view s, std::string_view part) {
  if (part.size() > s.size()) return kNotFound;
  // Backwards with the function that is linear: both texts reversed.
  const std::string text(s.rbegin(), s.rend()), wanted(part.rbegin(), part.rend());
  const size_t at = jinja::find(text, wanted);
  return at == kNotFound ? at : s.size() - at - part.size();
}

size_t count(std::string_view s, std::string_view part) {
  if (part.empty()) return count_characters(s) + 1;
  size_t n = 0;
  for (size_t at = find(s, part); at != kNotFound; at = find(s, part, at + part.size())) ++n;
  return n;
}

std::string replace(std::string_view s, std::string_view from, std::string_view to, int64_t limit) {
  std::string out;
  if (from.empty()) {
    for (const std::string_view c : Characters(s)) {
      if (limit != 0) out += to;
      if (limit > 0) --limit;
      out += c;
    }
    if (limit != 0) out += to;
    return out;
  }
  size_t done = 0;
  for (; limit != 0; limit -= limit > 0) {
    const size_t at = find(s, from, done);
    if (at == kNotFound) break;
    out += s.substr(done, at - done);
    out += to;
    done = at + from.size();
  }
  out += s.substr(done);
  return out;
}

std::vector<std::string_view> split_space(std::string_view s, int64_t limit, bool from_right,
                                          size_t most) {
  std::vector<std::string_view> out;
  const auto not_space = [](char32_t c) { return !is_space(c); };
  const Sides near = from_right ? kRight : kLeft;
  s = strip(s, near);
  while (!s.empty() && out.size() <= most) {
    const std::string_view rest = limit == 0 ? s.substr(0, 0) : strip_where(s, near, not_space);
    if (limit == 0) {
      out.push_back(strip(s, from_right ? kLeft : kRight));
      break;
    }
    out.push_back(from_right ? s.substr(rest.size()) : s.substr(0, s.size() - rest.size()));
    s = strip(rest, near);
    limit -= limit > 0;
  }
  // Python strips the far side of an uncut rest only where it reached it by cutting.
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string_view> split(std::string_view s, std::string_view separator, int64_t limit,
                                    bool from_right) {
  std::vector<std::string_view> out;
  if (!from_right) {
    size_t done = 0;
    for (; limit != 0; limit -= limit > 0) {
      const size_t at = find(s, separator, done);
      if (at == kNotFound) break;
      out.push_back(s.substr(done, at - done));
      done = at + separator.size();
    }
    out.push_back(s.substr(done));
    return out;
  }
  const std::string text(s.rbegin(), s.rend()), wanted(separator.rbegin(), separator.rend());
  size_t done = 0;
  for (; limit != 0; limit -= limit > 0) {
    const size_t at = jinja::find(text, wanted, done);
    if (at == kNotFound) break;
    out.push_back(s.substr(s.size() - at, at - done));
    done = at + wanted.size();
  }
  out.push_back(s.substr(0, s.size() - done));
  std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string_view> split_lines(std::string_view s, bool keep_ends, size_t most) {
  std::vector<std::string_view> out;
  size_t start = 0;
  for (size_t at = 0; at < s.size() && out.size() <= most;) {
    const size_t n = utf8_length(static_cast<uint8_t>(s[at]));
    if (!is_line_end(utf8_decode(s.data() + at))) {
      at += n;
      continue;
    }
    size_t end = at + n;
    if (s[at] == '\r' && end < s.size() && s[end] == '\n') ++end;
    out.push_back(s.substr(start, (keep_ends ? end : at) - start));
    start = at = end;
  }
  if (start < s.size()) out.push_back(s.substr(start));
  return out;
}

std::string escape_html(std::string_view s) {
  std::string out;
  for (const char c : s) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace dsv3::jinja
