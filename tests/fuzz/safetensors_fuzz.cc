// libFuzzer target: any bytes as a safetensors file are read or refused with dsv3::Error.

#include <cstdint>
#include <cstdlib>
#include <span>

#include "base/error.h"
#include "checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto header =
        dsv3::parse_safetensors(std::as_bytes(std::span<const uint8_t>(data, size)), "fuzz");
    uint64_t at = header.tensors.empty() ? size : header.tensors[0].offset;
    for (const dsv3::TensorEntry& t : header.tensors) {
      if (t.offset != at) std::abort();  // The tensors tile the data.
      at += t.bytes;
    }
    if (at != size) std::abort();
  } catch (const dsv3::Error&) {
  }
  return 0;
}
