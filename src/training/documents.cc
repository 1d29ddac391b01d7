#include "training/documents.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/json.h"
#include "text/utf8.h"

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool is_json_lines(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".jsonl" || extension == ".ndjson" || extension == ".json";
}

bool is_wanted(const fs::path& path) {
  const std::string extension = path.extension().string();
  return is_json_lines(path) || extension == ".txt" || extension == ".text" || extension == ".md";
}

std::vector<fs::path> find_files(const std::vector<fs::path>& inputs) {
  std::vector<fs::path> files;
  for (const fs::path& input : inputs) {
    std::error_code ec;
    if (!fs::is_directory(input, ec)) {
      files.push_back(input);
      continue;
    }
    std::vector<fs::path> found;
    for (fs::recursive_directory_iterator at(input, ec), end; !ec && at != end; at.increment(ec)) {
      std::error_code unreadable;
      if (is_wanted(at->path()) && at->is_regular_file(unreadable)) found.push_back(at->path());
    }
    if (ec) fail("{}: cannot read the folder: {}", input.string(), ec.message());
    if (found.empty()) {
      fail("{}: no *.txt, *.text, *.md, *.jsonl, *.ndjson or *.json in this folder",
           input.string());
    }
    std::sort(found.begin(), found.end());
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

/// A file, read in large parts and given out by lines.
class LineFile {
 public:
  explicit LineFile(const fs::path& path)
      : name_(std::make_shared<const std::string>(path.string())),
        fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) fail("{}: cannot open: {}", *name_, std::strerror(errno));
    struct stat info {};
    if (::fstat(fd_, &info) != 0 || S_ISDIR(info.st_mode)) {
      ::close(fd_);
      fail("{}: expected a file", *name_);
    }
    ::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  ~LineFile() { ::close(fd_); }
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;

  const std::shared_ptr<const std::string>& name() const { return name_; }
  int64_t line() const { return line_; }
  int64_t bytes_read() const { return bytes_read_; }

  /// Appends the next line with its end to `out`, and says how long it is; 0 at the end of the
  /// file. `out` may not become longer than `limit`.
  size_t append_line(std::string& out, int64_t limit) {
    const size_t before = out.size();
    bool complete = false;
    while (!complete && (at_ < end_ || fill())) {
      const char* const begin = buffer_.get() + at_;
      const void* const newline = std::memchr(begin, '\n', end_ - at_);
      complete = newline != nullptr;
      const size_t count = complete
                               ? static_cast<size_t>(static_cast<const char*>(newline) - begin) + 1
                               : end_ - at_;
      if (static_cast<int64_t>(out.size() + count) > limit) {
        fail("{}:{}: a document of more than {} bytes: is a --document-separator missing?", *name_,
             line_, limit);
      }
      out.append(begin, count);
      at_ += count;
    }
    line_ += complete ? 1 : 0;
    return out.size() - before;
  }

 private:
  static constexpr size_t kBuffer = size_t{1} << 20;

  bool fill() {
    ssize_t n;
    do n = ::read(fd_, buffer_.get(), kBuffer);
    while (n < 0 && errno == EINTR);
    if (n < 0) fail("{}: cannot read: {}", *name_, std::strerror(errno));
    at_ = 0;
    end_ = static_cast<size_t>(n);
    bytes_read_ += n;
    return n > 0;
  }

  std::shared_ptr<const std::string> name_;
  int fd_;
  std::unique_ptr<char[]> buffer_ = std::make_unique<char[]>(kBuffer);
  size_t at_ = 0, end_ = 0;
  int64_t line_ = 1, bytes_read_ = 0;
};

std::string_view without_line_end(std::string_view line) {
  if (!line.ends_with('\n')) return line;
  line.remove_suffix(1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

/// Fails if a text is not UTF-8, naming the line of the first bad byte.
void require_utf8(std::string_view text, const RawDocument& document) {
  if (is_valid_utf8(text)) return;
  std::string_view left = text;
  while (!left.empty()) {
    const Utf8Step step = utf8_step(left);
    if (step.kind != Utf8Step::kCharacter) break;
    left.remove_prefix(step.length);
  }
  const std::string_view good = text.substr(0, text.size() - left.size());
  const auto line = document.line + std::count(good.begin(), good.end(), '\n');
  const size_t column = good.size() - (good.rfind('\n') + 1);  // npos + 1 is 0
  fail("{}:{}: not valid UTF-8: byte {:02x} after {} bytes of the line", *document.file, line,
       static_cast<uint8_t>(left[0]), column);
}

}  // namespace

std::string document_text(RawDocument&& document, const std::string& field) {
  require_utf8(document.bytes, document);
  if (!document.json) return std::move(document.bytes);
  const std::string where = fmt::format("{}:{}", *document.file, document.line);
  const Json json = parse_json(document.bytes, where);
  if (!json.is_object()) fail("{}: expected an object, found {}", where, json.type_name());
  const auto found = json.find(field);
  if (found == json.end()) fail("{}: the object has no field '{}'", where, field);
  if (!found->is_string()) {
    fail("{}: {}: expected a string, found {}", where, field, found->type_name());
  }
  return found->get<std::string>();
}

struct DocumentReader::Impl {
  std::vector<fs::path> files;
  DocumentOptions options;
  int64_t max_document_bytes;
  size_t next_file = 0;
  std::optional<LineFile> file;
  bool json = false;
  int64_t documents_of_file = 0;
  int64_t bytes_before = 0;  // of the files before
  int64_t total_bytes = 0;

  void open_next() {
    json = options.json_lines || is_json_lines(files[next_file]);
    file.emplace(files[next_file++]);
    documents_of_file = 0;
  }
  bool next_json(RawDocument& document);
  bool next_text(RawDocument& document);
};

bool DocumentReader::Impl::next_json(RawDocument& document) {
  for (;;) {
    document.bytes.clear();
    document.line = file->line();
    if (file->append_line(document.bytes, max_document_bytes) == 0) return false;
    if (document.line == 1 && document.bytes.starts_with(kByteOrderMark)) {
      document.bytes.erase(0, kByteOrderMark.size());
    }
    if (document.bytes.find_first_not_of(" \t\r\n") != std::string::npos) return true;
  }
}

bool DocumentReader::Impl::next_text(RawDocument& document) {
  std::string& text = document.bytes;
  text.clear();
  document.line = file->line();
  const bool first = document.line == 1;
  bool any = false;
  while (const size_t length = file->append_line(text, max_document_bytes)) {
    any = true;
    if (first && text.size() == length && text.starts_with(kByteOrderMark)) {
      text.erase(0, kByteOrderMark.size());
    }
    if (options.separator.empty()) continue;
    const std::string_view line =
        std::string_view(text).substr(text.size() - std::min(length, text.size()));
    if (without_line_end(line) == options.separator) {
      text.resize(text.size() - line.size());
      break;
    }
  }
  // Nothing after the last separator is no document, but an empty file is one.
  if (!any && documents_of_file > 0) return false;
  ++documents_of_file;
  if (!options.separator.empty()) text.resize(without_line_end(text).size());
  return true;
}

DocumentReader::DocumentReader(const std::vector<fs::path>& inputs, const DocumentOptions& options,
                               int64_t max_document_bytes)
    : impl_(std::make_unique<Impl>()) {
  impl_->files = find_files(inputs);
  impl_->options = options;
  impl_->max_document_bytes = max_document_bytes;
  for (const fs::path& path : impl_->files) {
    std::error_code ec;
    const auto kind = fs::status(path, ec).type();
    if (kind == fs::file_type::regular) {
      impl_->total_bytes += static_cast<int64_t>(fs::file_size(path, ec));
    } else if (kind == fs::file_type::not_found) {
      fail("{}: there is no such file", path.string());
    }
    if (ec) fail("{}: cannot open: {}", path.string(), ec.message());
  }
}
DocumentReader::~DocumentReader() = default;

bool DocumentReader::next(RawDocument& document) {
  Impl& d = *impl_;
  for (;;) {
    if (!d.file) {
      if (d.next_file == d.files.size()) return false;
      d.open_next();
    }
    document.file = d.file->name();
    document.json = d.json;
    if (d.json ? d.next_json(document) : d.next_text(document)) return true;
    d.bytes_before += d.file->bytes_read();
    d.file.reset();
  }
}

bool DocumentReader::next_batch(std::vector<RawDocument>& documents, int64_t bytes) {
  constexpr size_t kKept = size_t{1} << 16;  // a huge document's memory is not kept
  size_t count = 0;
  for (int64_t read = 0; read < bytes; ++count) {
    if (count == documents.size()) documents.emplace_back();
    RawDocument& document = documents[count];
    if (document.bytes.capacity() > kKept) document.bytes = {};
    if (!next(document)) break;
    // Batches of many tiny documents are short too.
    read += static_cast<int64_t>(document.bytes.size() + sizeof document);
  }
  documents.resize(count);
  return count > 0;
}

int64_t DocumentReader::bytes_read() const {
  return impl_->bytes_before + (impl_->file ? impl_->file->bytes_read() : 0);
}
int64_t DocumentReader::total_bytes() const { return impl_->total_bytes; }

}  // namespace dsv3::training
