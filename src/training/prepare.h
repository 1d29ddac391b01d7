#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "dsv3/tokenizer.h"
#include "training/documents.h"

namespace dsv3::training {

struct PrepareOptions {
  std::vector<std::filesystem::path> inputs;  ///< files and folders, as DocumentReader takes them
  DocumentOptions documents;
  /// A shard ends before the document that would make it longer than this; a longer document has a
  /// shard of its own.
  int64_t shard_tokens = 100'000'000;
  /// Each document is set apart for validation with this probability.
  double valid_fraction = 0;
  /// Each document of training becomes one of Fill-in-Middle with this probability (report 4.1).
  double fim_rate = 0;
  /// Of what is drawn: for validation, for Fill-in-Middle. A draw depends on it and on the
  /// document's number in the input, and on nothing else.
  uint64_t seed = 0;
  /// Bytes of the input read so far, and in all.
  std::function<void(int64_t done, int64_t total)> progress;
  /// Asked now and then: whether to give up, leaving nothing. May be empty.
  std::function<bool()> stop;
};

/// What was written to a set of shards.
struct PreparedSet {
  int64_t shards = 0, documents = 0, tokens = 0;
};

struct PrepareReport {
  PreparedSet train, valid;
  int64_t empty_documents = 0;  ///< left out
  int64_t fim_documents = 0;
  int64_t text_bytes = 0;  ///< of the documents' texts
  bool stopped = false;    ///< and then nothing was written
};

/// The ids of Fill-in-Middle's tokens. Throws Error naming the missing one if the tokenizer has not
/// all three.
struct FimTokens {
  int64_t begin, hole, end;
  static FimTokens of(const Tokenizer& tokenizer);
};

/// The tokens between BOS and EOS of a text (valid UTF-8) as Prefix, Suffix, Middle: <begin> prefix
/// <hole> suffix <end> middle. The text is cut before two of its characters, or at its end, chosen
/// uniformly by `u0` and `u1` of [0, 1). Report 4.1, after Bavarian et al., "Efficient training of
/// language models to fill in the middle".
std::vector<int64_t> fill_in_middle(const Tokenizer& tokenizer, const FimTokens& tokens,
                                    std::string_view text, double u0, double u1);

/// Writes the documents as token shards into `folder`, which must not be there or be empty: each as
/// BOS, its tokens, EOS. Texts of special tokens in a document are text like any other. Shards are
/// shard-00000.tokens and so on; with a valid_fraction they are in the folders train and valid. The
/// same bytes whatever the number of threads (thread_pool()); the input may be larger than memory.
/// The folder appears when all is written and synced: before, and after an error, there is only (or
/// nothing of) a folder beside it with a temporary name. Throws Error for what cannot be read or
/// written and for input without a document.
PrepareReport prepare(const Tokenizer& tokenizer, const std::filesystem::path& folder,
                      const PrepareOptions& options);

}  // namespace dsv3::training
