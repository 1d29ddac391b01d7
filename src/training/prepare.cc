#include "training/prepare.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/thread_pool.h"
#include "generation/random.h"
#include "text/utf8.h"
#include "training/token_shard.h"

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;

// Numbers of a document's draws.
enum Draw : uint32_t { kDrawValid, kDrawFim, kDrawFirstCut, kDrawSecondCut };

int64_t required(std::optional<int64_t> id, const char* what) {
  if (!id) {
    fail(
        "the tokenizer has no {} (a tokenizer.json alone names none; give its folder, with "
        "tokenizer_config.json)",
        what);
  }
  return *id;
}

/// A folder that takes its name when it is complete, and is removed if it never is.
class PendingFolder {
 public:
  explicit PendingFolder(fs::path target) : target_(std::move(target)) {
    if (!target_.has_filename()) target_ = target_.parent_path();  // "out/"
    std::error_code ec;
    if (fs::exists(target_, ec) && !(fs::is_directory(target_, ec) && fs::is_empty(target_, ec))) {
      fail("{}: exists and is not an empty folder; give another name or remove it",
           target_.string());
    }
    path_ = target_;
    path_ += ".tmp-" + std::to_string(::getpid());
    if (!fs::create_directory(path_, ec)) {
      const std::string why = ec ? ec.message() : "it exists";
      path_.clear();
      fail("{}: cannot create a folder beside it: {}", target_.string(), why);
    }
  }
  ~PendingFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  PendingFolder(const PendingFolder&) = delete;
  PendingFolder& operator=(const PendingFolder&) = delete;

  const fs::path& path() const { return path_; }
  /// All files in it are synced already.
  void commit() {
    std::error_code ec;
    fs::rename(path_, target_, ec);
    if (ec) fail("{}: cannot rename {} to it: {}", target_.string(), path_.string(), ec.message());
    path_.clear();
    sync_folder(target_.parent_path());
  }

 private:
  fs::path target_, path_;
};

/// The shards of one set, filled one after another.
class ShardSet {
 public:
  ShardSet(fs::path folder, int64_t shard_tokens, int64_t vocab_size, uint64_t tokenizer_hash)
      : folder_(std::move(folder)),
        shard_tokens_(shard_tokens),
        vocab_size_(vocab_size),
        tokenizer_hash_(tokenizer_hash) {}

  void add(std::span<const int64_t> document) {
    const auto size = static_cast<int64_t>(document.size());
    if (writer_ && writer_->num_tokens() + size > shard_tokens_) finish();
    if (!writer_) {
      std::error_code ec;
      fs::create_directories(folder_, ec);
      if (ec) fail("{}: cannot create the folder: {}", folder_.string(), ec.message());
      writer_.emplace(folder_ / fmt::format("shard-{:05}{}", written_.shards, kShardExtension),
                      vocab_size_, tokenizer_hash_);
    }
    writer_->add(document);
    ++written_.documents;
    written_.tokens += size;
  }
  void finish() {
    if (!writer_) return;
    writer_->finish();
    writer_.reset();
    ++written_.shards;
  }
  const PreparedSet& written() const { return written_; }

 private:
  fs::path folder_;
  int64_t shard_tokens_, vocab_size_;
  uint64_t tokenizer_hash_;
  std::optional<TokenShardWriter> writer_;
  PreparedSet written_;
};

/// A document on its way from the input to a shard.
struct Job {
  std::vector<int64_t> tokens;  // empty: the document was
  int64_t text_bytes = 0;
  bool valid = false, fim = false;
  std::exception_ptr error;
};

class Preparation {
 public:
  Preparation(const Tokenizer& tokenizer, const fs::path& folder, const PrepareOptions& options)
      : tokenizer_(tokenizer),
        options_(options),
        bos_(required(tokenizer.bos_token_id(), "beginning of text (bos_token)")),
        eos_(required(tokenizer.eos_token_id(), "end of text (eos_token)")),
        reader_(options.inputs, options.documents),
        folder_(folder) {
    if (options.fim_rate > 0) fim_ = FimTokens::of(tokenizer);
    const int64_t end = end_of_ids(tokenizer);
    const uint64_t hash = tokenizer_hash(tokenizer);
    const bool split = options.valid_fraction > 0;
    train_.emplace(split ? folder_.path() / "train" : folder_.path(), options.shard_tokens, end,
                   hash);
    valid_.emplace(folder_.path() / "valid", options.shard_tokens, end, hash);
  }

  PrepareReport run() {
    constexpr int64_t kBatchBytes = int64_t{2} << 20;  // for each thread
    std::vector<RawDocument> batch;
    while (reader_.next_batch(batch, kBatchBytes * thread_pool().size())) {
      jobs_.resize(batch.size());
      const auto count = static_cast<int64_t>(batch.size());
      thread_pool().parallel_for(count, [&](int64_t i) {
        const auto at = static_cast<size_t>(i);
        encode(std::move(batch[at]), documents_ + i, jobs_[at]);
      });
      write_batch();
      documents_ += count;
      if (options_.progress) options_.progress(reader_.bytes_read(), reader_.total_bytes());
      if (options_.stop && options_.stop()) {
        report_.stopped = true;
        return report_;
      }
    }
    for (ShardSet* set : {&*train_, &*valid_}) set->finish();
    report_.train = train_->written();
    report_.valid = valid_->written();
    if (report_.train.documents + report_.valid.documents == 0) {
      fail("{}{}: there is no text in the input", options_.inputs.front().string(),
           options_.inputs.size() == 1 ? "" : " and the others");
    }
    folder_.commit();
    return report_;
  }

 private:
  double draw(int64_t document, Draw which) const {
    return generation::uniform(options_.seed, static_cast<uint64_t>(document), 0, which);
  }

  void encode(RawDocument&& raw, int64_t document, Job& job) const {
    job.tokens.clear();
    job.error = nullptr;
    try {
      const std::string text = document_text(std::move(raw), options_.documents.field);
      job.text_bytes = static_cast<int64_t>(text.size());
      if (text.empty()) return;
      job.valid = draw(document, kDrawValid) < options_.valid_fraction;
      job.fim = fim_ && !job.valid && draw(document, kDrawFim) < options_.fim_rate;
      const std::vector<int64_t> ids =
          job.fim ? fill_in_middle(tokenizer_, *fim_, text, draw(document, kDrawFirstCut),
                                   draw(document, kDrawSecondCut))
                  : tokenizer_.encode(text, /*add_special_tokens=*/false, /*allow_special=*/false);
      job.tokens.reserve(ids.size() + 2);
      job.tokens.push_back(bos_);
      job.tokens.insert(job.tokens.end(), ids.begin(), ids.end());
      job.tokens.push_back(eos_);
    } catch (...) {
      job.error = std::current_exception();
    }
  }

  // In the order of the input: so are the shards, and so is the error that is reported.
  void write_batch() {
    for (Job& job : jobs_) {
      if (job.error) std::rethrow_exception(job.error);
      if (job.tokens.empty()) {
        ++report_.empty_documents;
        continue;
      }
      report_.fim_documents += job.fim ? 1 : 0;
      report_.text_bytes += job.text_bytes;
      (job.valid ? *valid_ : *train_).add(job.tokens);
      job.tokens = {};
    }
  }

  const Tokenizer& tokenizer_;
  const PrepareOptions& options_;
  int64_t bos_, eos_;
  std::optional<FimTokens> fim_;
  DocumentReader reader_;
  PendingFolder folder_;
  std::optional<ShardSet> train_, valid_;
  std::vector<Job> jobs_;  // of a batch
  int64_t documents_ = 0;  // in earlier batches
  PrepareReport report_;
};

/// Where a text is cut for `u` of [0, 1): a byte, before the first character or after any.
size_t cut_at(std::string_view text, int64_t characters, double u) {
  auto left = static_cast<int64_t>(u * static_cast<double>(characters + 1));
  size_t at = 0;
  for (left = std::min(left, characters); left > 0; --left) {
    at += utf8_length(static_cast<uint8_t>(text[at]));
  }
  return at;
}

}  // namespace

FimTokens FimTokens::of(const Tokenizer& tokenizer) {
  const auto find = [&](const char* name) {
    const auto id = tokenizer.token_to_id(name);
    if (!id) fail("the tokenizer has no token '{}', which Fill-in-Middle needs", name);
    return *id;
  };
  return {find("<｜fim▁begin｜>"), find("<｜fim▁hole｜>"), find("<｜fim▁end｜>")};
}

std::vector<int64_t> fill_in_middle(const Tokenizer& tokenizer, const FimTokens& tokens,
                                    std::string_view text, double u0, double u1) {
  const auto continues = [](char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; };
  const auto characters =
      static_cast<int64_t>(text.size()) - std::count_if(text.begin(), text.end(), continues);
  const auto [begin, end] =
      std::minmax({cut_at(text, characters, u0), cut_at(text, characters, u1)});
  std::vector<int64_t> ids;
  const auto add = [&](int64_t token, std::string_view part) {
    ids.push_back(token);
    const auto part_ids =
        tokenizer.encode(part, /*add_special_tokens=*/false, /*allow_special=*/false);
    ids.insert(ids.end(), part_ids.begin(), part_ids.end());
  };
  add(tokens.begin, text.substr(0, begin));
  add(tokens.hole, text.substr(end));
  add(tokens.end, text.substr(begin, end - begin));
  return ids;
}

PrepareReport prepare(const Tokenizer& tokenizer, const fs::path& folder,
                      const PrepareOptions& options) {
  if (options.inputs.empty()) fail("no input is given");
  if (options.shard_tokens < 1)
    fail("shard_tokens is {}, expected at least 1", options.shard_tokens);
  for (const auto& [name, share] : {std::pair{"valid_fraction", options.valid_fraction},
                                    std::pair{"fim_rate", options.fim_rate}}) {
    if (!(share >= 0 && share <= 1)) fail("{} is {}, expected 0 to 1", name, share);
  }
  return Preparation(tokenizer, folder, options).run();
}

}  // namespace dsv3::training
