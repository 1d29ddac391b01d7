// Decodes or encodes a file for block_format_differential.py:
//
//     block_format_convert decode FORMAT BLOCKS OUTPUT
//     block_format_convert encode FORMAT FLOATS OUTPUT [IMPORTANCES]

#include <cstring>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "formats/block_format.h"

namespace dsv3 {
namespace {

std::vector<float> floats(const std::string& path) {
  const std::string bytes = read_file(path);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

void convert(const std::vector<std::string>& args) {
  if (args.size() < 4) fail("expected: decode|encode FORMAT INPUT OUTPUT [IMPORTANCES]");
  const std::optional<DType> dtype = dtype_from_name(args[1]);
  if (!dtype) fail("unknown format {}", args[1]);
  const formats::BlockFormat& format = formats::block_format(*dtype);
  std::string output;
  if (args[0] == "decode") {
    const std::string blocks = read_file(args[2]);
    const auto n = static_cast<int64_t>(blocks.size() / format.bytes) * format.elements;
    output.resize(n * sizeof(float));
    std::vector<float> values(n);
    format.decode(blocks.data(), n, values.data());
    std::memcpy(output.data(), values.data(), output.size());
  } else {
    const std::vector<float> x = floats(args[2]);
    const std::vector<float> importance = args.size() > 4 ? floats(args[4]) : std::vector<float>();
    output.resize(dtype_bytes(*dtype, static_cast<int64_t>(x.size())));
    format.encode(x.data(), static_cast<int64_t>(x.size()),
                  importance.empty() ? nullptr : importance.data(), output.data());
  }
  std::ofstream(args[3], std::ios::binary) << output;
}

}  // namespace
}  // namespace dsv3

int main(int argc, char** argv) {
  try {
    dsv3::convert({argv + 1, argv + argc});
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
}
