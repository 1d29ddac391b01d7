// libFuzzer target: any bytes as a tokenizer.json are read or refused with dsv3::Error, and what is
// read encodes and decodes without a crash, streamed too.

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "dsv3/error.h"
#include "dsv3/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string path = (std::filesystem::temp_directory_path() /
                                   ("dsv3-fuzz-" + std::to_string(::getpid()) + ".json"))
                                      .string();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    const auto tokenizer = dsv3::Tokenizer::from_file(path);
    const std::string text =
        "Hello, \xE4\xB8\x96\xE7\x95\x8C 123\n" +
        std::string(reinterpret_cast<const char*>(data), std::min<size_t>(size, 64));
    tokenizer.encode(text, false, /*allow_special=*/false);
    const std::vector<int64_t> ids = tokenizer.encode(text, true);
    dsv3::StreamDecoder decoder(tokenizer, /*skip_special_tokens=*/true);
    std::string streamed;
    for (const int64_t id : ids) streamed += decoder.push(id);
    streamed += decoder.flush();
    if (streamed != tokenizer.decode(ids, true)) std::abort();
  } catch (const dsv3::Error&) {
  }
  return 0;
}
