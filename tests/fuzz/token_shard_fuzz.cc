// libFuzzer target: any bytes as a token shard are read or refused with dsv3::Error. What is held:
// what a header says fits the bytes, and the document of a token is one that begins before it.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "base/crc32.h"
#include "base/error.h"
#include "training/token_shard.h"

namespace {

void read(std::span<const std::byte> file) {
  const auto shard = dsv3::training::TokenShard::parse(file, "fuzz");
  const int64_t n = shard.num_tokens(), documents = shard.num_documents();
  if (n < 1 || documents < 1 || documents > n || shard.vocab_size() < 1) std::abort();
  const auto bytes = static_cast<uint64_t>(n * shard.bytes_per_token() + documents * 8);
  if (bytes > file.size()) std::abort();
  for (const int64_t i : {int64_t{0}, n / 2, n - 1}) {
    shard.token(i);
    const int64_t d = shard.document_of(i);
    if (d < 0 || d >= documents || shard.document_begin(d) > i) std::abort();
  }
  shard.verify();
  for (int64_t i = 0, d = 0; i < n && i < 1000; ++i) {
    if (shard.token(i) >= shard.vocab_size()) std::abort();
    if (d + 1 < documents && shard.document_begin(d + 1) == i) ++d;
    if (shard.document_of(i) != d) std::abort();  // of a shard whose documents ascend
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kHeader = 64;
  std::vector<std::byte> file(size);
  if (size > 0) std::memcpy(file.data(), data, size);
  try {
    read(file);
  } catch (const dsv3::Error&) {
  }
  // Again with good checksums, which chance does not find.
  if (size < kHeader) return 0;
  const auto put = [&](size_t at, uint32_t crc) { std::memcpy(file.data() + at, &crc, 4); };
  put(56, dsv3::crc32(std::span(file).subspan(kHeader)));
  put(60, dsv3::crc32(std::span(file).first(60)));
  try {
    read(file);
  } catch (const dsv3::Error&) {
  }
  return 0;
}
