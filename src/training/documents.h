#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

// Documents of training text from files: what `dsv3 prepare` and `dsv3 tokenizer-train` read.
namespace dsv3::training {

/// Where documents begin and end. Files named *.jsonl, *.ndjson or *.json have a JSON object on
/// each line, each a document; lines of white space are passed over. All others are text (a byte
/// order mark in front is left out).
struct DocumentOptions {
  bool json_lines = false;  ///< all files have JSON objects, whatever their names
  /// The member of a JSON object that is the text.
  std::string field = "text";
  /// A line of a text file that is exactly this ends a document, as the end of the file does; the
  /// line end before it belongs to neither. Empty: a text file is one document as it is.
  std::string separator;
};

/// A document as its file has it: taking it out of its line of JSON is left to `document_text`,
/// which several threads may do at the same time.
struct RawDocument {
  std::string bytes;
  std::shared_ptr<const std::string> file;  ///< for messages
  int64_t line = 1;                         ///< where `bytes` begin in it
  bool json = false;
};

/// The text of a document. Throws Error naming file and line if it is not valid UTF-8 or no JSON
/// object with the member `field`, a string.
std::string document_text(RawDocument&& document, const std::string& field);

/// Reads files one after another, a document at a time, never a whole file. A folder stands for the
/// files named *.txt, *.text, *.md, *.jsonl, *.ndjson and *.json in it and the folders below, by
/// path. Not thread-safe.
class DocumentReader {
 public:
  /// A document has at most so many bytes: more is taken for a separator that was forgotten.
  static constexpr int64_t kMaxDocumentBytes = int64_t{1} << 30;

  /// Throws Error if a path is missing or a folder has no such file.
  DocumentReader(const std::vector<std::filesystem::path>& inputs, const DocumentOptions& options,
                 int64_t max_document_bytes = kMaxDocumentBytes);
  ~DocumentReader();

  /// The next document, perhaps empty; false at the end of the last file. Throws Error naming the
  /// file (and line) if it cannot be read or a document is too long.
  bool next(RawDocument& document);
  /// Replaces `documents` by the next ones, until they are `bytes` long (each counted a little
  /// longer than its text); false at the end of the last file. Their memory is reused.
  bool next_batch(std::vector<RawDocument>& documents, int64_t bytes);
  int64_t bytes_read() const;
  int64_t total_bytes() const;  ///< of all regular files, as they were at the beginning

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsv3::training
