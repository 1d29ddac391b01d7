#include "training/train_tokenizer.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>

#include "base/error.h"
#include "base/file.h"
#include "base/thread_pool.h"
#include "text/bpe_trainer.h"
#include "text/deepseek_scanner.h"
#include "text/deepseek_tokenizer.h"
#include "text/vocabulary.h"

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

constexpr const char* kFile = "tokenizer.json";
constexpr const char* kConfigFile = "tokenizer_config.json";

void check(const fs::path& folder, const TokenizerTrainingOptions& options) {
  constexpr int64_t kLeast = 256 + kDeepseekSpecialTokens, kMost = Vocabulary::kMaxId + 1;
  if (options.inputs.empty()) fail("no input is given");
  if (options.vocab_size < kLeast || options.vocab_size > kMost) {
    fail("a vocabulary of {} tokens, expected {} (256 bytes and {} special tokens) to {}",
         options.vocab_size, kLeast, kDeepseekSpecialTokens, kMost);
  }
  for (const char* name : {kFile, kConfigFile}) {
    std::error_code ec;
    if (fs::exists(folder / name, ec)) {
      fail("{}: is there already; give another folder or remove it", (folder / name).string());
    }
  }
}

/// Counts the pieces of documents on all threads.
class Counter {
 public:
  explicit Counter(const TokenizerTrainingOptions& options)
      : options_(options), parts_(static_cast<size_t>(thread_pool().size())) {}

  /// Counts the documents of a batch that are wanted; false if there is a limit and it is reached.
  bool add(std::vector<RawDocument>& batch) {
    std::vector<std::string> texts(batch.size());
    std::vector<std::exception_ptr> errors(batch.size());
    thread_pool().parallel_for(static_cast<int64_t>(batch.size()), [&](int64_t i) {
      const auto at = static_cast<size_t>(i);
      try {
        texts[at] = document_text(std::move(batch[at]), options_.documents.field);
      } catch (...) {
        errors[at] = std::current_exception();
      }
    });
    // In the order of the input, so that the limit is where it is whatever the threads.
    size_t count = 0;
    bool more = true;
    for (; count < texts.size() && more; ++count) {
      if (errors[count]) std::rethrow_exception(errors[count]);
      documents_ += texts[count].empty() ? 0 : 1;
      bytes_ += static_cast<int64_t>(texts[count].size());
      more = options_.limit_bytes == 0 || bytes_ < options_.limit_bytes;
    }
    std::atomic<size_t> next = 0;
    thread_pool().parallel_for(static_cast<int64_t>(parts_.size()), [&](int64_t part) {
      PieceCounts& pieces = parts_[static_cast<size_t>(part)];
      for (size_t i; (i = next++) < count;) {
        scanner_.split(texts[i], [&](std::string_view piece) { pieces.add(piece); });
      }
    });
    return more;
  }

  /// The sum, which ends the counting.
  PieceCounts finish() {
    for (size_t i = 1; i < parts_.size(); ++i) {
      parts_[0].add(parts_[i]);
      parts_[i] = {};
    }
    return std::move(parts_[0]);
  }
  int64_t documents() const { return documents_; }
  int64_t bytes() const { return bytes_; }

 private:
  const TokenizerTrainingOptions& options_;
  DeepseekScanner scanner_;
  std::vector<PieceCounts> parts_;
  int64_t documents_ = 0, bytes_ = 0;
};

void write_files(const fs::path& folder, const LearnedBpe& bpe) {
  std::error_code ec;
  const bool made = fs::create_directories(folder, ec);
  if (ec) fail("{}: cannot create the folder: {}", folder.string(), ec.message());
  try {
    // Both are on the disk before one of them appears.
    AtomicFile file(folder / kFile), config(folder / kConfigFile);
    file.write(deepseek_tokenizer_json(bpe).dump(1) + "\n");
    config.write(deepseek_tokenizer_config().dump(1) + "\n");
    file.sync();
    config.commit();
    file.commit();
  } catch (...) {
    if (made) fs::remove(folder, ec);
    throw;
  }
}

}  // namespace

TokenizerTrainingReport train_tokenizer(const fs::path& folder,
                                        const TokenizerTrainingOptions& options) {
  check(folder, options);
  TokenizerTrainingReport report;
  auto start = Clock::now();
  DocumentReader reader(options.inputs, options.documents);
  Counter counter(options);
  constexpr int64_t kBatchBytes = int64_t{4} << 20;  // for each thread
  std::vector<RawDocument> batch;
  while (reader.next_batch(batch, kBatchBytes * thread_pool().size())) {
    const bool more = counter.add(batch);
    if (options.progress) options.progress(reader.bytes_read(), reader.total_bytes());
    if (options.stop && options.stop()) {
      report.stopped = true;
      return report;
    }
    if (!more) break;
  }
  if (options.progress) options.progress(1, 1);
  report.documents = counter.documents();
  report.text_bytes = counter.bytes();
  const PieceCounts pieces = counter.finish();
  report.distinct_pieces = static_cast<int64_t>(pieces.size());
  report.reading_seconds = seconds_since(start);
  if (report.text_bytes == 0) {
    fail("{}{}: there is no text in the input", options.inputs.front().string(),
         options.inputs.size() == 1 ? "" : " and the others");
  }

  start = Clock::now();
  const LearnedBpe bpe =
      learn_bpe(pieces, {.num_tokens = options.vocab_size - kDeepseekSpecialTokens,
                         .min_frequency = options.min_frequency});
  report.learning_seconds = seconds_since(start);
  report.vocab_size = static_cast<int64_t>(bpe.tokens.size()) + kDeepseekSpecialTokens;

  write_files(folder, bpe);
  return report;
}

}  // namespace dsv3::training
