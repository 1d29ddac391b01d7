#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dsv3::terminal {

/// What was entered before, oldest first, kept in a file: an entry on each line, with line breaks
/// as "\n" and backslashes as "\\". Sessions at the same time add to the file and lose nothing.
class History {
 public:
  static constexpr size_t kMaxEntries = 1000;

  /// "": only in memory. A file that cannot be read or written is none.
  explicit History(std::filesystem::path file);

  const std::vector<std::string>& entries() const { return entries_; }
  /// Adds an entry, here and to the file, unless it is the last one again.
  void add(const std::string& entry);
  /// The newest entry before number `before` that contains `part`.
  std::optional<size_t> find(std::string_view part, size_t before) const;

 private:
  std::filesystem::path file_;
  std::vector<std::string> entries_;
};

}  // namespace dsv3::terminal
