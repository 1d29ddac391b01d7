#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace dsv3 {

using MemoryRange = std::pair<const std::byte*, const std::byte*>;

/// Moves parts of mapped files into huge pages, by all threads; they keep their addresses and
/// contents. A file's own pages are of 4 KB on most systems, and looking up so many of them slows
/// reading, most in virtual machines. What is moved belongs to the process and no longer to the
/// page cache.
///
/// `ranges`: of files that stay mapped; what else is in the same huge pages is moved too. `lock`:
/// keeps what is moved in memory (mlock). `progress`(done, total) is called now and then. Returns
/// the bytes moved: 0 where the system has no transparent huge pages or the memory is not there. If
/// not `patient`, it stops where getting memory turns out to be slow (a virtual machine that gets
/// it from its host page by page).
size_t move_to_huge_pages(std::vector<MemoryRange> ranges, bool lock, bool patient,
                          const std::function<void(int64_t, int64_t)>& progress);

}  // namespace dsv3
