// libFuzzer target: any bytes as a tokenizer.json are read or refused with dsv3::Error, and what is
// read encodes and decodes without a crash.

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

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
    tokenizer.decode(tokenizer.encode(text, true), true);
  } catch (const dsv3::Error&) {
  }
  return 0;
}
