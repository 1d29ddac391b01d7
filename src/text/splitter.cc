#include "text/splitter.h"

#include <algorithm>
#include <utility>

#include "text/json_fields.h"
#include "text/unicode.h"

namespace dsv3 {
namespace {

class RegexFinder : public Finder {
 public:
  explicit RegexFinder(std::string_view pattern) : regex_(pattern) {}
  bool find(std::string_view text, size_t from, Regex::Match& match) const override {
    return regex_.find(text, from, match);
  }

 private:
  Regex regex_;
};

class StringFinder : public Finder {
 public:
  explicit StringFinder(std::string_view text) : text_(text) {}
  bool find(std::string_view text, size_t from, Regex::Match& match) const override {
    const size_t at = text.find(text_, from);
    if (at == text.npos) return false;
    match = {at, at + text_.size()};
    return true;
  }

 private:
  std::string text_;
};

class CharacterFinder : public Finder {
 public:
  explicit CharacterFinder(const CharSet& set) : set_(set) {}
  bool find(std::string_view text, size_t from, Regex::Match& match) const override {
    const char* const end = text.data() + text.size();
    while (from < text.size()) {
      const char* const at = text.data() + from;
      const size_t length = utf8_length(static_cast<uint8_t>(*at));
      if (set_.match(at, end)) {
        match = {from, from + length};
        return true;
      }
      from += length;
    }
    return false;
  }

 private:
  CharTable set_;
};

class WordFinder : public Finder {
 public:
  bool find(std::string_view text, size_t from, Regex::Match& match) const override {
    while (from < text.size() && kind(text, from) == kSpace) from += length(text, from);
    if (from == text.size()) return false;
    match.begin = from;
    const Kind wanted = kind(text, from);
    while (from < text.size() && kind(text, from) == wanted) from += length(text, from);
    match.end = from;
    return true;
  }

 private:
  enum Kind { kSpace, kWord, kOther };
  static size_t length(std::string_view text, size_t at) {
    return utf8_length(static_cast<uint8_t>(text[at]));
  }
  static Kind kind(std::string_view text, size_t at) {
    const char32_t c = utf8_decode(text.data() + at);
    if (is_word_character(c)) return kWord;
    return category_bit(c) & kWhiteSpace ? kSpace : kOther;
  }
};

}  // namespace

std::unique_ptr<Finder> find_regex(std::string_view pattern) {
  return std::make_unique<RegexFinder>(pattern);
}
std::unique_ptr<Finder> find_string(std::string_view text) {
  return std::make_unique<StringFinder>(text);
}
std::unique_ptr<Finder> find_character(const CharSet& set) {
  return std::make_unique<CharacterFinder>(set);
}
std::unique_ptr<Finder> find_words() { return std::make_unique<WordFinder>(); }

std::unique_ptr<Finder> pattern_finder(const Json& json, const std::string& where) {
  const Json* pattern = find_field(json, "pattern", where);
  if (!pattern || !pattern->is_object() || pattern->size() != 1) {
    fail(R"({}: field 'pattern' must be {{"Regex": "..."}} or {{"String": "..."}})", where);
  }
  const std::string kind = pattern->begin().key();
  const std::string text = string_field(*pattern, kind, where + ".pattern");
  if (text.empty()) fail("{}: an empty pattern is not supported", where);
  if (kind == "String") return find_string(text);
  if (kind == "Regex") return with_context(where, [&] { return find_regex(text); });
  fail("{}: pattern kind '{}' is not supported", where, kind);
}

std::string replace_all(std::string_view text, const Finder& finder, std::string_view content,
                        size_t* front) {
  std::string out;
  size_t done = 0, kept_front = 0;
  const auto take = [&](std::string_view part, size_t begin, size_t last) {
    // Either all of a part is in front or, if it is plain text, the front of it.
    if (front && last < *front) kept_front = out.size() + part.size();
    else if (front && begin < *front) kept_front = out.size() + (*front - begin);
    out += part;
  };
  for (Regex::Match match; finder.find(text, done, match); done = match.end) {
    if (done < match.begin) {
      take(text.substr(done, match.begin - done), done, match.begin - 1);
    }
    take(content, match.end - 1, match.end - 1);
  }
  if (done < text.size()) take(text.substr(done), done, text.size() - 1);
  if (front) *front = kept_front;
  return out;
}

void SplitStep::split(const Piece& piece, PieceSink sink) const {
  if (behavior_ != SplitBehavior::kIsolated && behavior_ != SplitBehavior::kRemoved) {
    return split_merging(piece, sink);
  }
  const bool keep_matches = behavior_ == SplitBehavior::kIsolated || invert_;
  const bool keep_gaps = behavior_ == SplitBehavior::kIsolated || !invert_;
  size_t done = 0;
  for (Regex::Match match; finder_->find(piece.text, done, match); done = match.end) {
    if (keep_gaps && match.begin > done) sink(piece.part(done, match.begin - done));
    if (keep_matches) sink(piece.part(match.begin, match.end - match.begin));
  }
  if (keep_gaps && done < piece.text.size()) sink(piece.part(done));
}

void SplitStep::split_merging(const Piece& piece, PieceSink sink) const {
  size_t begin = 0, end = 0;  // parts that belong together so far
  bool last_match = false;
  const auto add = [&](size_t part_end, bool match) {
    // Of a row of matches only the one next to the neighbour that they are merged with joins it.
    bool join = match == last_match;
    if (behavior_ == SplitBehavior::kMergedWithPrevious) join = match && !last_match;
    if (behavior_ == SplitBehavior::kMergedWithNext) join = !match && last_match;
    if (!join && end > begin) {
      sink(piece.part(begin, end - begin));
      begin = end;
    }
    end = part_end;
    last_match = match;
  };
  for (Regex::Match match; finder_->find(piece.text, end, match);) {
    if (match.begin > end) add(match.begin, invert_);
    add(match.end, !invert_);
  }
  if (end < piece.text.size()) add(piece.text.size(), invert_);
  if (end > begin) sink(piece.part(begin, end - begin));
}

}  // namespace dsv3
