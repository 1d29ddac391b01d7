#include "text/deepseek_scanner.h"

#include <algorithm>

#include "text/unicode.h"

namespace dsv3 {
namespace {

/// The file has the two characters of a line end themselves in its sets.
constexpr std::string_view kPatterns[] = {
    R"(\p{N}{1,3})",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^)" "\r\n"
    R"(\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[)" "\r\n"
    R"(]*|\s*[)" "\r\n" R"(]+|\s+(?!\S)|\s+)"};

}  // namespace

std::span<const std::string_view> DeepseekScanner::patterns() { return kPatterns; }

bool DeepseekScanner::recognises(const Json& pre_tokenizer) {
  const auto has = [](const Json& object, std::string_view name, const Json& value) {
    const auto field = object.find(name);
    return field != object.end() && *field == value;
  };
  if (!pre_tokenizer.is_object() || !has(pre_tokenizer, "type", "Sequence")) return false;
  const auto steps = pre_tokenizer.find("pretokenizers");
  if (steps == pre_tokenizer.end() || !steps->is_array() || steps->size() != 4) return false;
  for (size_t i = 0; i < 3; ++i) {
    const Json& step = (*steps)[i];
    if (!step.is_object() || !has(step, "type", "Split") || !has(step, "behavior", "Isolated") ||
        !has(step, "invert", false) || !has(step, "pattern", {{"Regex", kPatterns[i]}})) {
      return false;
    }
  }
  const Json& last = (*steps)[3];
  return last.is_object() && has(last, "type", "ByteLevel") &&
         has(last, "add_prefix_space", false) && has(last, "use_regex", false);
}

DeepseekScanner::DeepseekScanner() {
  const auto class_of = [](char32_t c) -> uint8_t {
    const bool cjk = (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF);
    const uint8_t flag = cjk ? kCjk : 0;
    if (c == '\r' || c == '\n') return kNewline;
    if (c == ' ') return kBlank;
    const CategoryMask bit = category_bit(c);
    if (bit & kNumber) return kDigit;
    if (bit & (kLetter | kMark)) return kWord | flag;
    if (bit & (kPunctuation | kSymbol)) return kSign | flag;
    return (bit & kWhiteSpace ? kSpace : kOther) | flag;
  };
  for (char32_t page = 0; page < page_of_.size(); ++page) {
    std::array<uint8_t, 256> classes;
    for (char32_t i = 0; i < 256; ++i) classes[i] = class_of(page << 8 | i);
    // Most pages are equal to an earlier one.
    size_t place = 0;
    while (place < pages_.size() &&
           !std::equal(classes.begin(), classes.end(), pages_.begin() + place)) {
      place += 256;
    }
    if (place == pages_.size()) pages_.insert(pages_.end(), classes.begin(), classes.end());
    page_of_[page] = static_cast<uint32_t>(place);
  }
}

}  // namespace dsv3
