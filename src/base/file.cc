#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <sstream>

#include "base/error.h"

namespace dsv3 {
namespace {
std::string errno_text() { return std::strerror(errno); }

// Where files are mapped, by begin.
struct Mapping {
  const std::byte* end;
  int fd;
  bool replaced = false;
};
struct Mappings {
  std::mutex mutex;
  std::map<const std::byte*, Mapping> by_begin;

  // The one that holds an address, or the map's end.
  auto find(const void* at) {
    const auto after = by_begin.upper_bound(static_cast<const std::byte*>(at));
    if (after == by_begin.begin() || at >= std::prev(after)->second.end) return by_begin.end();
    return std::prev(after);
  }
};
Mappings& mappings() {
  static Mappings all;
  return all;
}
}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("{}: cannot open: {}", path.string(), errno_text());
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    fail("{}: expected a regular file", path.string());
  }
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  file->fd_ = fd;
  file->size_ = static_cast<size_t>(info.st_size);
  if (file->size_ > 0) {
    void* p = ::mmap(nullptr, file->size_, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
      fail("{}: cannot map {} bytes: {}", path.string(), info.st_size, errno_text());
    file->data_ = static_cast<const std::byte*>(p);
    const std::lock_guard lock(mappings().mutex);
    mappings().by_begin[file->data_] = {file->data_ + file->size_, fd};
  }
  return file;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    {
      const std::lock_guard lock(mappings().mutex);
      mappings().by_begin.erase(data_);
    }
    ::munmap(const_cast<std::byte*>(data_), size_);
  }
  if (fd_ >= 0) ::close(fd_);
}

void sync_folder(const std::filesystem::path& folder) {
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;  // Some file systems refuse; the rename itself has happened.
  ::fsync(fd);
  ::close(fd);
}

bool is_mapped(const void* begin, size_t bytes) {
  const std::lock_guard lock(mappings().mutex);
  const auto file = mappings().find(begin);
  return file != mappings().by_begin.end() &&
         static_cast<const std::byte*>(begin) + bytes <= file->second.end;
}

std::pair<int, uint64_t> mapped_from(const void* at) {
  const std::lock_guard lock(mappings().mutex);
  const auto file = mappings().find(at);
  if (file == mappings().by_begin.end()) return {-1, 0};
  return {file->second.fd, static_cast<uint64_t>(static_cast<const std::byte*>(at) - file->first)};
}

void note_replaced_pages(const void* at) {
  const std::lock_guard lock(mappings().mutex);
  const auto file = mappings().find(at);
  if (file != mappings().by_begin.end()) file->second.replaced = true;
}

bool has_replaced_pages(const void* at) {
  const std::lock_guard lock(mappings().mutex);
  const auto file = mappings().find(at);
  return file != mappings().by_begin.end() && file->second.replaced;
}

std::string read_file(const std::filesystem::path& path) {
  std::error_code ec;
  if (std::filesystem::is_directory(path, ec)) {
    fail("{}: expected a file, found a folder", path.string());
  }
  std::ifstream in(path, std::ios::binary);
  if (!in) fail("{}: cannot open: {}", path.string(), errno_text());
  std::ostringstream out;
  out << in.rdbuf();
  if (in.bad()) fail("{}: cannot read: {}", path.string(), errno_text());
  return std::move(out).str();
}

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  temporary_ = path_;
  temporary_ += ".tmp-" + std::to_string(::getpid());
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) fail("{}: cannot create: {}", temporary_.string(), errno_text());
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

void AtomicFile::write(std::string_view text) { append_all(fd_, text, temporary_); }

void AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("{}: cannot write: {}", temporary_.string(), errno_text());
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

void AtomicFile::sync() {
  if (::fsync(fd_) != 0) fail("{}: cannot sync: {}", temporary_.string(), errno_text());
}

void AtomicFile::commit() {
  sync();
  ::close(fd_);
  fd_ = -1;
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const std::string why = errno_text();
    ::unlink(temporary_.c_str());
    fail("{}: cannot rename to {}: {}", temporary_.string(), path_.string(), why);
  }
  sync_folder(path_.parent_path());
}

void append_all(int fd, std::string_view text, const std::filesystem::path& path) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("{}: cannot write: {}", path.string(), errno_text());
    text.remove_prefix(static_cast<size_t>(n));
  }
}

void sync_tree(const std::filesystem::path& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_directory()) {
      sync_tree(entry.path());
      continue;
    }
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail("{}: cannot open: {}", entry.path().string(), errno_text());
    const bool good = ::fsync(fd) == 0;
    const std::string why = errno_text();
    ::close(fd);
    if (!good) fail("{}: cannot sync: {}", entry.path().string(), why);
  }
  sync_folder(folder);
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace dsv3
