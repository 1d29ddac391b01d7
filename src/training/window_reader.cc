#include "training/window_reader.h"

#include <algorithm>

#include "base/error.h"
#include "training/permutation.h"
#include "training/token_shard.h"

namespace dsv3::training {
namespace {

// Which permutations the seed gives: the offsets', and one of the windows for each epoch.
constexpr uint64_t kOffsets = ~uint64_t{0};

}  // namespace

struct WindowReader::Impl {
  WindowReaderOptions options;
  std::vector<TokenShard> shards;
  std::vector<int64_t> begins;  // of each shard's tokens in the stream of all
  int64_t num_tokens = 0;
  int64_t windows_per_epoch = 0;

  explicit Impl(const WindowReaderOptions& given);
  /// Where in the stream an epoch begins.
  int64_t offset_of(int64_t epoch) const;
  [[noreturn]] void fail_at(const TokenShard& shard, int64_t index) const;
};

WindowReader::Impl::Impl(const WindowReaderOptions& given) : options(given) {
  if (options.sequence_length < 1) {
    fail("sequence_length is {}, expected at least 1", options.sequence_length);
  }
  if (options.vocab_size < 1) fail("vocab_size is {}, expected at least 1", options.vocab_size);
  for (const auto& path : find_shards(options.shards)) {
    TokenShard shard = TokenShard::open(path);
    if (!shards.empty() && shard.tokenizer_hash() != shards.front().tokenizer_hash()) {
      fail("{}: made with another tokenizer ({:016x}) than {} ({:016x})", shard.where(),
           shard.tokenizer_hash(), shards.front().where(), shards.front().tokenizer_hash());
    }
    begins.push_back(num_tokens);
    num_tokens += shard.num_tokens();
    shards.push_back(std::move(shard));
  }
  if (shards.empty()) fail("no token shards are given");
  const int64_t length = options.sequence_length;
  if (num_tokens / 2 < length) {
    fail("{}{}: {} tokens, expected at least {}, twice the sequence length", shards.front().where(),
         shards.size() == 1 ? "" : fmt::format(" and {} more", shards.size() - 1), num_tokens,
         2 * length);
  }
  // The largest offset is length - 1, and a window has one token more than its stride.
  windows_per_epoch = (num_tokens - length) / length;
}

int64_t WindowReader::Impl::offset_of(int64_t epoch) const {
  const int64_t length = options.sequence_length;
  const Permutation offsets(length, options.seed, kOffsets);
  const int64_t offset = offsets(epoch % length);
  return options.shuffle ? offset : (offset - offsets(0) + length) % length;
}

void WindowReader::Impl::fail_at(const TokenShard& shard, int64_t index) const {
  fail("{}: token {} is {}, expected less than the model's vocab_size {}", shard.where(), index,
       shard.token(index), options.vocab_size);
}

WindowReader::WindowReader(const WindowReaderOptions& options)
    : impl_(std::make_unique<Impl>(options)) {}
WindowReader::WindowReader(WindowReader&&) noexcept = default;
WindowReader& WindowReader::operator=(WindowReader&&) noexcept = default;
WindowReader::~WindowReader() = default;

int64_t WindowReader::windows_per_epoch() const { return impl_->windows_per_epoch; }
int64_t WindowReader::num_tokens() const { return impl_->num_tokens; }

Window WindowReader::window(int64_t number) const {
  if (number < 0) fail("window {}: expected a number from 0", number);
  const Impl& d = *impl_;
  const int64_t epoch = number / d.windows_per_epoch;
  int64_t place = number % d.windows_per_epoch;
  if (d.options.shuffle) {
    place = Permutation(d.windows_per_epoch, d.options.seed, static_cast<uint64_t>(epoch))(place);
  }
  const int64_t begin = d.offset_of(epoch) + place * d.options.sequence_length;

  auto shard = static_cast<size_t>(std::upper_bound(d.begins.begin(), d.begins.end(), begin) -
                                   d.begins.begin() - 1);
  Window window;
  const auto size = static_cast<size_t>(d.options.sequence_length + 1);
  window.tokens.reserve(size);
  window.documents.reserve(size);
  int32_t document = -1;  // of the window
  for (int64_t index = begin - d.begins[shard]; window.tokens.size() < size; ++shard, index = 0) {
    const TokenShard& s = d.shards[shard];
    int64_t next = s.document_of(index) + 1;  // document of the shard
    int64_t next_begin = index;               // where the window's number goes up
    for (; index < s.num_tokens() && window.tokens.size() < size; ++index) {
      if (index == next_begin) {
        ++document;
        next_begin = next < s.num_documents() ? s.document_begin(next++) : s.num_tokens();
        if (next_begin <= index) {
          fail("{}: document {} begins at token {}, expected more than {}", s.where(), next - 1,
               next_begin, index);
        }
      }
      const uint32_t token = s.token(index);
      if (token >= d.options.vocab_size) d.fail_at(s, index);
      window.tokens.push_back(static_cast<int32_t>(token));
      window.documents.push_back(document);
    }
  }
  return window;
}

}  // namespace dsv3::training
