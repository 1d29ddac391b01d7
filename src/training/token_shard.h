#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "dsv3/tokenizer.h"

// Token shards: what `dsv3 prepare` writes and training reads. All numbers are little-endian:
//
//   byte  0  8 bytes  "DSV3TOKS"
//         8  u32      version, 1
//        12  u32      bytes of a token: 2 if vocab_size is at most 65536, else 4
//        16  u64      num_tokens, at least 1
//        24  u64      num_documents, 1 to num_tokens
//        32  u64      vocab_size: all tokens are below it
//        40  u64      tokenizer_hash: of the tokenizer that made the tokens
//        48  u64      0
//        56  u32      CRC-32 of all that follows the header
//        60  u32      CRC-32 of bytes 0 to 59
//        64           num_tokens tokens, u16 or u32; then zeros up to a multiple of 8 bytes
//                     num_documents times u64: the index of each document's first token, ascending,
//                     the first of them 0. The file ends here.
//
// A document is whole in one shard.
namespace dsv3::training {

/// The ending of a shard's name.
inline constexpr const char* kShardExtension = ".tokens";

/// One above the largest token id.
int64_t end_of_ids(const Tokenizer& tokenizer);
/// 64-bit FNV-1a of all ids with their tokens, and of the ids of BOS and EOS: equal for tokenizers
/// with which the same ids mean the same, whether they come from tokenizer.json or from GGUF.
uint64_t tokenizer_hash(const Tokenizer& tokenizer);

/// A shard, mapped. Opening reads the header only. Copying is cheap; const functions may be called
/// from several threads.
class TokenShard {
 public:
  /// Throws Error naming the file if it is no shard, truncated, longer than its header says, or
  /// has a damaged header.
  static TokenShard open(const std::filesystem::path& path);
  /// The same from memory, which has to outlive the result. `where` is what errors name.
  static TokenShard parse(std::span<const std::byte> file, const std::string& where);

  const std::string& where() const { return where_; }
  int bytes_per_token() const { return bytes_per_token_; }
  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_documents() const { return num_documents_; }
  int64_t vocab_size() const { return vocab_size_; }
  uint64_t tokenizer_hash() const { return tokenizer_hash_; }

  /// Token `index` of [0, num_tokens), as the file has it.
  uint32_t token(int64_t index) const;
  /// Where document `index` of [0, num_documents) begins. Throws Error if that is not within the
  /// shard.
  int64_t document_begin(int64_t index) const;
  /// The document of token `index`.
  int64_t document_of(int64_t index) const;
  /// Reads all of the file. Throws Error if the checksum is another, a token is not below
  /// vocab_size or the documents' beginnings do not ascend.
  void verify() const;

 private:
  std::shared_ptr<const MappedFile> mapping_;  // null after `parse`
  std::span<const std::byte> file_;
  std::string where_;
  int bytes_per_token_ = 0;
  int64_t num_tokens_ = 0, num_documents_ = 0, vocab_size_ = 0;
  uint64_t tokenizer_hash_ = 0;
  size_t documents_at_ = 0;  // byte of the file
};

/// Writes a shard document by document. It appears under its name with `finish`; without, nothing
/// of it stays. Memory: 8 bytes a document.
class TokenShardWriter {
 public:
  TokenShardWriter(const std::filesystem::path& path, int64_t vocab_size, uint64_t tokenizer_hash);

  /// Appends a document (not empty), which must be made of tokens below vocab_size. Throws Error if
  /// the disk is full and the like.
  void add(std::span<const int64_t> document);
  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_documents() const { return static_cast<int64_t>(begins_.size()); }
  /// Writes the rest, syncs and renames. At least one document is needed.
  void finish();

 private:
  void append(const void* bytes, size_t count);
  void flush();

  AtomicFile file_;
  int64_t vocab_size_;
  uint64_t tokenizer_hash_;
  int bytes_per_token_;
  int64_t num_tokens_ = 0;
  std::vector<uint64_t> begins_;
  std::vector<std::byte> buffer_;
  uint32_t crc_ = 0;
};

/// Files as they are, folders as the shards in them by name. Throws Error for a folder without any.
std::vector<std::filesystem::path> find_shards(const std::vector<std::filesystem::path>& paths);

}  // namespace dsv3::training
