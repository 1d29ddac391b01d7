#include "benchmark/cases.h"

#include <charconv>
#include <limits>

#include "base/error.h"

namespace dsv3::benchmark {
namespace {

constexpr size_t kMostNumbers = 1000;

/// Takes a number off the front of `text`.
int64_t take_number(std::string_view& text, std::string_view all) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0) {
    fail("'{}' is no list of numbers such as 128,512 or 0-4096+1024 or 1-8*2", all);
  }
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::string Case::name() const {
  std::string name = prompt > 0 ? fmt::format("pp{}", prompt) : fmt::format("tg{}", generated);
  if (batch > 1) name += fmt::format(" x{}", batch);
  if (depth > 0) name += fmt::format(" @ d{}", depth);
  return name;
}

std::vector<Case> expand(const CaseLists& lists) {
  std::vector<Case> cases;
  for (const int64_t t : lists.threads) {
    const int threads = static_cast<int>(t);
    for (const int64_t depth : lists.depths) {
      for (const int64_t prompt : lists.prompts) {
        if (prompt > 0) cases.push_back({.prompt = prompt, .depth = depth, .threads = threads});
      }
      for (const int64_t generated : lists.generated) {
        for (const int64_t batch : lists.batches) {
          if (generated == 0) continue;
          cases.push_back(
              {.generated = generated, .depth = depth, .batch = batch, .threads = threads});
        }
      }
    }
  }
  return cases;
}

std::vector<int64_t> parse_numbers(std::string_view text, int64_t least) {
  const std::string_view all = text;
  std::vector<int64_t> numbers;
  const auto add = [&](int64_t n) {
    if (n < least) fail("'{}': expected numbers of at least {}, found {}", all, least, n);
    if (numbers.size() == kMostNumbers) fail("'{}': more than {} numbers", all, kMostNumbers);
    numbers.push_back(n);
  };
  do {
    const int64_t first = take_number(text, all);
    if (!take(text, '-')) {
      add(first);
      continue;
    }
    const int64_t last = take_number(text, all);
    int64_t step = 1, factor = 1;
    if (take(text, '+')) {
      step = take_number(text, all);
    } else if (take(text, '*')) {
      factor = take_number(text, all);
      step = 0;
    }
    if (last < first) fail("'{}': {} comes before {}", all, first, last);
    const bool grows = step > 0 || (factor > 1 && first > 0);
    if (!grows && first != last) fail("'{}': the range never reaches {}", all, last);
    for (int64_t n = first; n <= last;) {
      add(n);
      constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
      if (!grows || n > kMax - step || n > kMax / factor) break;
      n = n * factor + step;
    }
  } while (take(text, ','));
  if (!text.empty()) fail("'{}': did not expect '{}'", all, text);
  return numbers;
}

}  // namespace dsv3::benchmark
