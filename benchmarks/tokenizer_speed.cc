// Our side of benchmarks/tokenizer-speed: tokenizer_speed TOKENIZER TEXT. Each line of standard
// input asks for one measurement, and one line answers it with processor seconds, seconds on the
// clock, tokens and a hash of them:
//   load           reading the tokenizer's file
//   encode BYTES   encoding the text in parts of that size, with a tokenizer that is new
//   decode BYTES   decoding the tokens of such parts

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <iostream>
#include <string>
#include <vector>

#include "base/file.h"
#include "dsv3/tokenizer.h"

namespace {

using Ids = std::vector<int64_t>;

double processor_seconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct Seconds {
  double processor = 0, clock = 0;
};

template <typename F>
Seconds measure(F&& f) {
  const auto begin = std::chrono::steady_clock::now();
  const double processor = processor_seconds();
  f();
  return {processor_seconds() - processor,
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count()};
}

/// Parts of `size` bytes, a little more where a character would be cut.
std::vector<std::string> parts(const std::string& text, size_t size) {
  std::vector<std::string> cut;
  for (size_t begin = 0, end; begin < text.size(); begin = end) {
    end = std::min(text.size(), begin + size);
    while (end < text.size() && (text[end] & 0xC0) == 0x80) ++end;
    cut.push_back(text.substr(begin, end - begin));
  }
  return cut;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: tokenizer_speed TOKENIZER TEXT\n";
    return 2;
  }
  const std::string text = dsv3::read_file(argv[2]);
  for (std::string what; std::cin >> what;) {
    Seconds seconds;
    size_t tokens = 0;
    uint32_t hash = 0;
    if (what == "load") {
      seconds = measure([&] { dsv3::Tokenizer::from_file(argv[1]); });
    } else {
      size_t size = 0;
      std::cin >> size;
      const std::vector<std::string> cut = parts(text, size);
      const auto tokenizer = dsv3::Tokenizer::from_file(argv[1]);
      std::vector<Ids> ids(cut.size());
      const auto encode = [&] {
        for (size_t i = 0; i < cut.size(); ++i) ids[i] = tokenizer.encode(cut[i]);
      };
      const auto decode = [&] {
        for (const Ids& part : ids) tokenizer.decode(part);
      };
      if (what == "encode") {
        seconds = measure(encode);
      } else {
        encode();
        seconds = measure(decode);
      }
      for (const Ids& part : ids) {
        tokens += part.size();
        for (const int64_t id : part) hash = hash * 31 + static_cast<uint32_t>(id);
      }
    }
    std::cout << fmt::format("{:.6f} {:.6f} {} {}\n", seconds.processor, seconds.clock, tokens,
                             hash)
              << std::flush;
  }
  return 0;
}
