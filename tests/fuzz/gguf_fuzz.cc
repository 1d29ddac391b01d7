// libFuzzer target: any bytes as a GGUF file are read or refused with dsv3::Error.

#include <cstdint>
#include <cstdlib>
#include <span>
#include <unordered_set>

#include "base/error.h"
#include "checkpoint/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const dsv3::GgufHeader header =
        dsv3::parse_gguf(std::as_bytes(std::span<const uint8_t>(data, size)), "fuzz");
    uint64_t end = 0;
    std::unordered_set<std::string_view> names;
    for (const dsv3::TensorEntry& t : header.tensors) {
      if (!names.insert(t.name).second || t.shape.size() > 4) std::abort();
      if (t.offset % header.alignment != 0) std::abort();
      if (t.offset > size || t.bytes > size - t.offset) std::abort();
      if (t.bytes == 0) continue;
      if (t.offset < end) std::abort();
      end = t.offset + t.bytes;
    }
    for (const auto& [key, value] : header.metadata.entries()) {
      if (header.metadata.find(key) != &value || describe(value).empty()) std::abort();
    }
  } catch (const dsv3::Error&) {
  }
  return 0;
}
