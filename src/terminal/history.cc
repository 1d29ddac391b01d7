#include "terminal/history.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <fstream>

#include "base/file.h"
#include "text/utf8.h"

namespace dsv3::terminal {
namespace {

std::string escaped(const std::string& entry) {
  std::string line;
  for (const char c : entry) {
    if (c == '\\') line += "\\\\";
    if (c == '\n') line += "\\n";
    if (c != '\\' && c != '\n') line += c;
  }
  return line;
}

std::string unescaped(std::string_view line) {
  std::string entry;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] != '\\' || i + 1 == line.size()) {
      entry += line[i];
      continue;
    }
    ++i;
    entry += line[i] == 'n' ? '\n' : line[i];
  }
  return utf8_lossy(entry);
}

}  // namespace

History::History(std::filesystem::path file) : file_(std::move(file)) {
  if (file_.empty()) return;
  std::ifstream in(file_, std::ios::binary);
  if (!in) return;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) entries_.push_back(unescaped(line));
  }
  in.close();
  if (entries_.size() <= kMaxEntries) return;
  // Rewriting the file each time would take from it what another session adds meanwhile.
  const bool rewrite = entries_.size() > 2 * kMaxEntries;
  entries_.erase(entries_.begin(), entries_.end() - static_cast<std::ptrdiff_t>(kMaxEntries));
  if (!rewrite) return;
  std::string text;
  for (const std::string& entry : entries_) text += escaped(entry) + "\n";
  try {
    write_file_atomically(file_, text);
    using std::filesystem::perms;
    std::filesystem::permissions(file_, perms::owner_read | perms::owner_write);
  } catch (const std::exception&) {
    // A history that cannot be shortened is no reason to complain.
  }
}

void History::add(const std::string& entry) {
  if (entry.empty() || (!entries_.empty() && entries_.back() == entry)) return;
  entries_.push_back(entry);
  if (file_.empty()) return;
  // What people ask is nobody else's business.
  const int fd = open(file_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return;
  const std::string line = escaped(entry) + "\n";
  [[maybe_unused]] const ssize_t written = write(fd, line.data(), line.size());
  close(fd);
}

std::optional<size_t> History::find(std::string_view part, size_t before) const {
  for (size_t i = std::min(before, entries_.size()); i-- > 0;) {
    if (entries_[i].find(part) != std::string::npos) return i;
  }
  return std::nullopt;
}

}  // namespace dsv3::terminal
