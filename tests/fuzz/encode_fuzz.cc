// libFuzzer target: any bytes are encoded by a tokenizer of any kind. What is held: ids are tokens;
// texts of added tokens stay text where they are not allowed; a batch gives the same as single
// texts; where nothing is lost the text comes back; and DeepSeek's pre-tokenizer written out by
// hand cuts as its regular expressions do.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "dsv3/error.h"
#include "text/pre_tokenizer.h"
#include "text/utf8.h"
#include "tokenizers.h"

namespace {

const dsv3::PreTokenizer& deepseek() {
  static const dsv3::PreTokenizer instance = dsv3::PreTokenizer::from_json(
      dsv3::read_json_file(DSV3_SOURCE_DIR "/tests/golden-text/mini-tokenizer.json")
          .at("pre_tokenizer"));
  return instance;
}

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const auto& [tokenizer, lossless] = dsv3::fuzz::subjects().choose(data[0]);
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string valid = dsv3::utf8_lossy(text);

  const std::vector<int64_t> ids = tokenizer.encode(text, true),
                             again = tokenizer.encode(valid, true);
  require(ids == again);
  const std::vector<int64_t> plain = tokenizer.encode(text, false, /*allow_special=*/false);
  for (const int64_t id : ids) require(tokenizer.id_to_token(id).has_value());
  const std::vector<int64_t> added = tokenizer.added_tokens();
  for (const int64_t id : plain) require(!std::binary_search(added.begin(), added.end(), id));
  if (lossless) {
    require(tokenizer.decode(ids) == valid);
    require(tokenizer.decode(plain) == valid);
  }
  if (data[0] >= 0xF0) {  // seldom, because threads are slow to wake
    const std::vector<std::string_view> twice = {text, valid};
    for (const auto& one : tokenizer.encode_batch(twice, true)) require(one == ids);
  }

  std::vector<std::string_view> by_hand, in_steps;
  deepseek().split({valid}, [&](std::string_view piece) { by_hand.push_back(piece); });
  deepseek().split_in_steps({valid}, [&](std::string_view piece) { in_steps.push_back(piece); });
  require(by_hand == in_steps);
  return 0;
}
