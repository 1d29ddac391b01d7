// libFuzzer target: any bytes as a GGUF file are read or refused with dsv3::Error, and so are the
// tokenizer and the chat templates in its keys. What is held: tensors lie within the file without
// overlaps, and a tokenizer's ids are tokens.

#include <cstdint>
#include <cstdlib>
#include <span>
#include <unordered_set>

#include "base/error.h"
#include "checkpoint/gguf.h"
#include "text/chat_template_files.h"
#include "text/tokenizer_gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  dsv3::GgufMetadata metadata;
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
    metadata = header.metadata;
  } catch (const dsv3::Error&) {
    return 0;
  }
  try {
    dsv3::chat_template_sources(metadata);
    dsv3::special_tokens(metadata);
  } catch (const dsv3::Error&) {
  }
  try {
    const dsv3::Tokenizer tokenizer = dsv3::TokenizerGguf::read(metadata);
    for (const int64_t id : tokenizer.encode("the owl's <think> 12\n\u6F22\xFF", true)) {
      if (!tokenizer.id_to_token(id) || tokenizer.decode({&id, 1}).size() > size) std::abort();
    }
  } catch (const dsv3::Error&) {
  }
  return 0;
}
