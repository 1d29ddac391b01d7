#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace dsv3 {

/// A whole file mapped read-only. Throws Error naming the file if it cannot be opened.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  int fd_ = -1;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// Whether a range of memory lies in a mapped file.
bool is_mapped(const void* begin, size_t bytes);
/// The file descriptor and the offset there of what is mapped at an address; {-1, 0} if nothing is.
std::pair<int, uint64_t> mapped_from(const void* at);
/// Notes that other memory has taken the place of pages of the file that is mapped at an address.
void note_replaced_pages(const void* at);
/// Whether that was noted.
bool has_replaced_pages(const void* at);

/// The contents of a (text) file; throws Error naming it.
std::string read_file(const std::filesystem::path& path);

/// fsync of a folder: what was renamed into it or out of it is on the disk.
void sync_folder(const std::filesystem::path& folder);

/// A file that appears under its name only when it is complete: written to a temporary name in the
/// same folder, fsynced, then renamed by `commit`. Without `commit` the temporary is removed.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// Writes at an absolute offset; holes read as zero.
  void write_at(uint64_t offset, std::span<const std::byte> bytes);
  /// fsync: what is written is on the disk. For several files that are committed together, so that
  /// a full disk is noticed before the first of them replaces anything.
  void sync();
  /// fsync, rename over the target, fsync of the folder.
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
};

/// Writes all bytes to an open file; throws Error naming `path`.
void append_all(int fd, std::string_view text, const std::filesystem::path& path);

/// fsync of every file and folder in a folder, and of itself. Throws Error if a file's cannot be
/// put on disk.
void sync_tree(const std::filesystem::path& folder);

void write_file_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace dsv3
