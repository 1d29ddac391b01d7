#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dsv3::benchmark {

/// One thing to time. Exactly one of `prompt` and `generated` is not zero.
struct Case {
  int64_t prompt = 0;     ///< tokens of a prompt, read in chunks
  int64_t generated = 0;  ///< tokens decoded one after the other, in each sequence
  int64_t depth = 0;      ///< tokens that each sequence holds before
  int64_t batch = 1;      ///< sequences decoded together
  int threads = 1;

  /// As llama-bench names it: "pp512", "tg64 @ d4096"; of several sequences "tg64 x8".
  std::string name() const;
  /// New tokens of all sequences in a repetition.
  int64_t tokens() const { return prompt + generated * batch; }
  /// Tokens that a sequence holds at the end.
  int64_t length() const { return depth + prompt + generated; }
};

/// What the options -p, -n, -d, -b and -t list. Zeros in `prompts` and `generated` are left out.
struct CaseLists {
  std::vector<int64_t> prompts, generated, depths, batches, threads;
};

/// Every combination; threads vary slowest, then depths, and prompts come before decoding. Batches
/// are for decoding only.
std::vector<Case> expand(const CaseLists& lists);

/// Numbers separated by commas; also ranges as llama-bench has them, "1-4" (1,2,3,4), "0-4096+1024"
/// and "1-8*2" (1,2,4,8). Throws Error for anything else, for a number below `least` and for lists
/// of more than 1000 numbers.
std::vector<int64_t> parse_numbers(std::string_view text, int64_t least);

}  // namespace dsv3::benchmark
