#include "training/token_shard.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

#include "base/crc32.h"
#include "base/error.h"
#include "text/vocabulary.h"

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;
static_assert(std::endian::native == std::endian::little);

constexpr char kMagic[8] = {'D', 'S', 'V', '3', 'T', 'O', 'K', 'S'};
constexpr uint32_t kVersion = 1;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t bytes_per_token;
  uint64_t num_tokens;
  uint64_t num_documents;
  uint64_t vocab_size;
  uint64_t tokenizer_hash;
  uint64_t zero;
  uint32_t data_crc;
  uint32_t header_crc;
};
static_assert(sizeof(Header) == 64);

std::span<const std::byte> checked_part(const Header& header) {
  return std::as_bytes(std::span(&header, 1)).first(offsetof(Header, header_crc));
}

constexpr int64_t kMaxVocabSize = Vocabulary::kMaxId + 1;
int bytes_for(int64_t vocab_size) { return vocab_size <= 0x10000 ? 2 : 4; }

size_t padded(size_t bytes) { return (bytes + 7) / 8 * 8; }

class Fnv1a {
 public:
  void add(std::string_view bytes) {
    for (const char c : bytes) hash_ = (hash_ ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  }
  void add(int64_t number) {
    char bytes[8];
    std::memcpy(bytes, &number, 8);
    add({bytes, 8});
  }
  uint64_t hash() const { return hash_; }

 private:
  uint64_t hash_ = 0xCBF29CE484222325u;
};

}  // namespace

int64_t end_of_ids(const Tokenizer& tokenizer) {
  int64_t id = 0;
  for (int64_t found = 0; found < tokenizer.vocab_size(); ++id) {
    found += tokenizer.id_to_token(id).has_value() ? 1 : 0;
  }
  return id;
}

uint64_t tokenizer_hash(const Tokenizer& tokenizer) {
  Fnv1a hash;
  const int64_t end = end_of_ids(tokenizer);
  for (int64_t id = 0; id < end; ++id) {
    const auto token = tokenizer.id_to_token(id);
    if (!token) continue;
    hash.add(id);
    hash.add(static_cast<int64_t>(token->size()));
    hash.add(*token);
  }
  hash.add(tokenizer.bos_token_id().value_or(-1));
  hash.add(tokenizer.eos_token_id().value_or(-1));
  return hash.hash();
}

TokenShard TokenShard::open(const fs::path& path) {
  auto mapping = MappedFile::open(path);
  TokenShard shard = parse({mapping->data(), mapping->size()}, path.string());
  shard.mapping_ = std::move(mapping);
  return shard;
}

TokenShard TokenShard::parse(std::span<const std::byte> file, const std::string& where) {
  Header header;
  if (file.size() < sizeof header.magic ||
      std::memcmp(file.data(), kMagic, sizeof header.magic) != 0) {
    fail("{}: no token shard of dsv3 prepare: expected \"DSV3TOKS\" at the beginning", where);
  }
  if (file.size() < sizeof header) {
    fail("{}: truncated: {} bytes, expected at least the {} of the header", where, file.size(),
         sizeof header);
  }
  std::memcpy(&header, file.data(), sizeof header);
  if (header.version != kVersion) {
    fail("{}: version {} of token shards, expected {}", where, header.version, kVersion);
  }
  if (const uint32_t crc = crc32(checked_part(header)); crc != header.header_crc) {
    fail("{}: damaged header: its CRC-32 is {:08x}, expected {:08x}", where, crc,
         header.header_crc);
  }
  const auto vocab_size = static_cast<int64_t>(header.vocab_size);
  if (vocab_size < 1 || vocab_size > kMaxVocabSize) {
    fail("{}: vocabulary of {}, expected 1 to {}", where, header.vocab_size, kMaxVocabSize);
  }
  if (static_cast<int>(header.bytes_per_token) != bytes_for(vocab_size)) {
    fail("{}: {} bytes per token for a vocabulary of {}, expected {}", where,
         header.bytes_per_token, vocab_size, bytes_for(vocab_size));
  }
  // Counts that do not fit the file are told apart before they are multiplied.
  const uint64_t room = file.size() - sizeof header;
  if (header.num_tokens < 1 || header.num_documents < 1 ||
      header.num_documents > header.num_tokens || header.zero != 0) {
    fail("{}: {} tokens in {} documents, expected at least one token in each document", where,
         header.num_tokens, header.num_documents);
  }
  const bool too_many = header.num_tokens > room / header.bytes_per_token ||
                        header.num_documents > room / sizeof(uint64_t);
  const size_t tokens_end =
      too_many ? 0 : padded(sizeof header + header.num_tokens * header.bytes_per_token);
  const size_t end = tokens_end + header.num_documents * sizeof(uint64_t);
  if (too_many || end > file.size()) {
    fail("{}: truncated: {} bytes are too few for {} tokens in {} documents", where, file.size(),
         header.num_tokens, header.num_documents);
  }
  if (end != file.size()) {
    fail("{}: {} bytes, expected {} for {} tokens in {} documents", where, file.size(), end,
         header.num_tokens, header.num_documents);
  }
  TokenShard shard;
  shard.file_ = file;
  shard.where_ = where;
  shard.bytes_per_token_ = static_cast<int>(header.bytes_per_token);
  shard.num_tokens_ = static_cast<int64_t>(header.num_tokens);
  shard.num_documents_ = static_cast<int64_t>(header.num_documents);
  shard.vocab_size_ = vocab_size;
  shard.tokenizer_hash_ = header.tokenizer_hash;
  shard.documents_at_ = tokens_end;
  if (shard.document_begin(0) != 0) {
    fail("{}: the first document begins at token {}, expected 0", where, shard.document_begin(0));
  }
  return shard;
}

uint32_t TokenShard::token(int64_t index) const {
  assert(index >= 0 && index < num_tokens_);
  const std::byte* const tokens = file_.data() + sizeof(Header);
  if (bytes_per_token_ == 2) {
    uint16_t token;
    std::memcpy(&token, tokens + 2 * index, 2);
    return token;
  }
  uint32_t token;
  std::memcpy(&token, tokens + 4 * index, 4);
  return token;
}

int64_t TokenShard::document_begin(int64_t index) const {
  assert(index >= 0 && index < num_documents_);
  uint64_t begin;
  std::memcpy(&begin, file_.data() + documents_at_ + 8 * index, 8);
  if (begin >= static_cast<uint64_t>(num_tokens_)) {
    fail("{}: document {} begins at token {}, expected less than {}", where_, index, begin,
         num_tokens_);
  }
  return static_cast<int64_t>(begin);
}

int64_t TokenShard::document_of(int64_t index) const {
  int64_t first = 0, last = num_documents_ - 1;  // where it may be
  while (first < last) {
    const int64_t middle = last - (last - first) / 2;
    if (document_begin(middle) <= index)
      first = middle;
    else
      last = middle - 1;
  }
  return first;
}

void TokenShard::verify() const {
  Header header;
  std::memcpy(&header, file_.data(), sizeof header);
  if (const uint32_t crc = crc32(file_.subspan(sizeof header)); crc != header.data_crc) {
    fail("{}: damaged: the CRC-32 of its tokens and documents is {:08x}, expected {:08x}", where_,
         crc, header.data_crc);
  }
  for (int64_t i = 0; i < num_tokens_; ++i) {
    if (token(i) >= vocab_size_) {
      fail("{}: token {} is {}, expected less than {}", where_, i, token(i), vocab_size_);
    }
  }
  for (int64_t i = 1; i < num_documents_; ++i) {
    if (document_begin(i) <= document_begin(i - 1)) {
      fail("{}: document {} begins at token {}, expected more than {}", where_, i,
           document_begin(i), document_begin(i - 1));
    }
  }
}

TokenShardWriter::TokenShardWriter(const fs::path& path, int64_t vocab_size,
                                   uint64_t tokenizer_hash)
    : file_(path),
      vocab_size_(vocab_size),
      tokenizer_hash_(tokenizer_hash),
      bytes_per_token_(bytes_for(vocab_size)) {
  assert(vocab_size >= 1 && vocab_size <= kMaxVocabSize);
  const Header none = {};  // the real one is known at the end
  file_.write(std::as_bytes(std::span(&none, 1)));
}

void TokenShardWriter::append(const void* bytes, size_t count) {
  constexpr size_t kBuffer = size_t{1} << 20;
  const auto* from = static_cast<const std::byte*>(bytes);
  buffer_.insert(buffer_.end(), from, from + count);
  if (buffer_.size() >= kBuffer) flush();
}

void TokenShardWriter::flush() {
  crc_ = crc32(buffer_, crc_);
  file_.write(buffer_);
  buffer_.clear();
}

void TokenShardWriter::add(std::span<const int64_t> document) {
  assert(!document.empty());
  begins_.push_back(static_cast<uint64_t>(num_tokens_));
  for (const int64_t id : document) {
    assert(id >= 0 && id < vocab_size_);
    const auto token = static_cast<uint32_t>(id);
    append(&token, static_cast<size_t>(bytes_per_token_));
  }
  num_tokens_ += static_cast<int64_t>(document.size());
}

void TokenShardWriter::finish() {
  assert(num_tokens_ > 0);
  const auto bytes = static_cast<size_t>(num_tokens_ * bytes_per_token_);
  constexpr std::byte kZeros[8] = {};
  append(kZeros, padded(bytes) - bytes);
  append(begins_.data(), begins_.size() * sizeof(uint64_t));
  flush();
  Header header = {.version = kVersion,
                   .bytes_per_token = static_cast<uint32_t>(bytes_per_token_),
                   .num_tokens = static_cast<uint64_t>(num_tokens_),
                   .num_documents = begins_.size(),
                   .vocab_size = static_cast<uint64_t>(vocab_size_),
                   .tokenizer_hash = tokenizer_hash_,
                   .data_crc = crc_};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.header_crc = crc32(checked_part(header));
  file_.write_at(0, std::as_bytes(std::span(&header, 1)));
  file_.commit();
}

std::vector<fs::path> find_shards(const std::vector<fs::path>& paths) {
  std::vector<fs::path> shards;
  for (const fs::path& path : paths) {
    std::error_code ec;
    if (!fs::is_directory(path, ec)) {
      shards.push_back(path);
      continue;
    }
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(path, ec)) {
      if (entry.path().extension() == kShardExtension) found.push_back(entry.path());
    }
    if (ec) fail("{}: cannot read the folder: {}", path.string(), ec.message());
    if (found.empty()) {
      const bool has_parts = fs::is_directory(path / "train", ec);
      fail("{}: no token shards (*{}) in this folder{}", path.string(), kShardExtension,
           has_parts ? "; it has a folder train, name that" : "");
    }
    std::sort(found.begin(), found.end());
    shards.insert(shards.end(), found.begin(), found.end());
  }
  return shards;
}

}  // namespace dsv3::training
