#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dsv3::jinja {

// Python's functions on strings. All texts are valid UTF-8; positions and lengths are characters
// where a name or comment says so, else bytes.

size_t count_characters(std::string_view s);
/// The byte where character `index` starts; the end for an index beyond it.
size_t byte_offset(std::string_view s, size_t index);
/// The characters of a text, to iterate over.
class Characters {
 public:
  class Iterator {
   public:
    explicit Iterator(std::string_view rest);
    std::string_view operator*() const { return rest_.substr(0, length_); }
    Iterator& operator++();
    bool operator!=(const Iterator& other) const { return rest_.size() != other.rest_.size(); }

   private:
    std::string_view rest_;
    size_t length_;
  };
  explicit Characters(std::string_view s) : text_(s) {}
  Iterator begin() const { return Iterator(text_); }
  Iterator end() const { return Iterator(text_.substr(text_.size())); }

 private:
  std::string_view text_;
};

bool is_space(char32_t c);
bool is_printable(char32_t c);
bool is_letter(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);
bool is_numeric(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);
bool is_title(char32_t c);
/// Upper, lower or title case.
bool is_cased(char32_t c);
/// What a word has in its middle beside letters: apostrophes, marks, ...
bool is_case_ignorable(char32_t c);
bool is_identifier_start(char32_t c);
bool is_identifier_part(char32_t c);
/// \w of Python's re.
bool is_word(char32_t c);

std::string to_upper(std::string_view s);
std::string to_lower(std::string_view s);
/// Each word's first letter, as str.title.
std::string to_title(std::string_view s);
/// The first character in title case, the rest lower, as str.capitalize.
std::string capitalize(std::string_view s);
std::string swap_case(std::string_view s);
std::string fold_case(std::string_view s);

enum Sides : uint8_t { kLeft = 1, kRight = 2, kBoth = 3 };
/// White space, or the characters of `chars`.
std::string_view strip(std::string_view s, Sides sides);
std::string_view strip(std::string_view s, std::string_view chars, Sides sides);

constexpr size_t kNotFound = std::string_view::npos;
/// Linear in the length of both, unlike std::string::find.
size_t find(std::string_view s, std::string_view part, size_t from = 0);
size_t rfind(std::string_view s, std::string_view part);
size_t count(std::string_view s, std::string_view part);
/// At most `limit` replacements, all where negative.
std::string replace(std::string_view s, std::string_view from, std::string_view to, int64_t limit);

/// At runs of white space; at most `limit` cuts, no limit where negative. Stops when there are more
/// than `most` pieces, which is for the caller to refuse.
std::vector<std::string_view> split_space(std::string_view s, int64_t limit, bool from_right,
                                          size_t most);
std::vector<std::string_view> split(std::string_view s, std::string_view separator, int64_t limit,
                                    bool from_right);
/// Stops when there are more than `most` lines.
std::vector<std::string_view> split_lines(std::string_view s, bool keep_ends, size_t most);

/// &, <, >, " and ' as HTML entities.
std::string escape_html(std::string_view s);

}  // namespace dsv3::jinja
