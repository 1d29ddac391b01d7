// libFuzzer target: any ids are decoded by a tokenizer of any kind. What is held: text is valid
// UTF-8; what streams out, piece by piece, is what decode gives for all; and after a flush anywhere
// a new text begins.

#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "dsv3/error.h"
#include "text/utf8.h"
#include "tokenizers.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const dsv3::Tokenizer& tokenizer = dsv3::fuzz::subjects().choose(data[0]).tokenizer;
  const bool skip = data[1] & 1;
  const size_t cut = data[2];
  // Two bytes an id; a few ids more than there are tokens.
  std::vector<int64_t> ids;
  for (size_t i = 3; i + 1 < size; i += 2) {
    ids.push_back((data[i] | data[i + 1] << 8) % (tokenizer.vocab_size() + 200) - 1);
  }
  const std::span<const int64_t> all(ids), before = all.first(std::min(cut, all.size())),
                                           after = all.subspan(before.size());
  dsv3::StreamDecoder decoder(tokenizer, skip);
  const auto stream = [&](std::span<const int64_t> part) {
    std::string text;
    for (const int64_t id : part) {
      const std::string piece = decoder.push(id);
      require(dsv3::is_valid_utf8(piece));
      text += piece;
    }
    const std::string rest = decoder.flush();
    require(dsv3::is_valid_utf8(rest));
    return text + rest;
  };
  require(stream(all) == tokenizer.decode(all, skip));
  require(stream(before) == tokenizer.decode(before, skip));
  require(stream(after) == tokenizer.decode(after, skip));
  return 0;
}
