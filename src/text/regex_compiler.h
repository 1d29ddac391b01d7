#pragma once

#include <string_view>
#include <vector>

#include "text/regex.h"
#include "text/regex_parser.h"

namespace dsv3 {

/// What the first character of a match may be. `empty`: there may be no character at all.
struct FirstCharacters {
  std::array<bool, 128> ascii = {};
  CategoryMask categories = 0;  // above ASCII
  bool empty = false;
};
FirstCharacters first_characters(const RegexNode& node);

/// Appends the program of `node`, with its kMatch. `pattern` is for errors.
void compile_regex(const RegexNode& node, std::string_view pattern, Regex::Program& program);

}  // namespace dsv3
