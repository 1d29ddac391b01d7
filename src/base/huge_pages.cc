#include "base/huge_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <string>

#include "base/file.h"
#include "base/memory.h"
#include "base/thread_pool.h"

namespace dsv3 {

#if defined(__linux__) && defined(MADV_HUGEPAGE)

namespace {

constexpr size_t kHugePage = size_t{2} << 20;
// Memory that is left to others.
constexpr int64_t kReserve = int64_t{1} << 30;
// Each piece may stay a mapping of its own, of which a process may have 65,530.
constexpr size_t kMostPieces = 16384;
// Bytes after which speed and memory are looked at; bytes a second below which moving is given up.
constexpr size_t kTrial = size_t{64} << 20;
constexpr double kSlow = 0.7e9;

// A multiple of a huge page in a mapped file.
struct Piece {
  std::byte* begin;
  int fd;
  uint64_t offset;
};

bool has_huge_pages() {
  std::ifstream in("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string modes;
  return std::getline(in, modes) && modes.find("[never]") == std::string::npos;
}

uintptr_t address(const void* p) { return reinterpret_cast<uintptr_t>(p); }

// Pieces of `bytes` that touch the ranges and lie in mapped files as a whole.
std::vector<Piece> cut(std::vector<MemoryRange> ranges, size_t bytes) {
  std::sort(ranges.begin(), ranges.end());
  std::vector<Piece> pieces;
  uintptr_t after = 0;
  for (const auto& [begin, end] : ranges) {
    const uintptr_t first = address(begin) / kHugePage * kHugePage;
    for (uintptr_t p = std::max(first, after); p < address(end); p = after) {
      auto* at = reinterpret_cast<std::byte*>(p);
      const bool whole = is_mapped(at, bytes);
      if (whole) {
        const auto [fd, offset] = mapped_from(at);
        pieces.push_back({at, fd, offset});
      }
      after = p + (whole ? bytes : kHugePage);
    }
  }
  return pieces;
}

bool read_whole(int fd, std::byte* to, size_t bytes, uint64_t offset) {
  while (bytes > 0) {
    const ssize_t n = pread(fd, to, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    to += n;
    bytes -= static_cast<size_t>(n);
    offset += static_cast<uint64_t>(n);
  }
  return true;
}

// Fills memory at `to` from the file, which is faster than from where it is mapped, and puts it in
// the place of the piece: readers see the one or the other.
bool move(const Piece& piece, std::byte* to, size_t bytes) {
  if (read_whole(piece.fd, to, bytes, piece.offset) && mprotect(to, bytes, PROT_READ) == 0 &&
      mremap(to, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, piece.begin) != MAP_FAILED) {
    return true;
  }
  munmap(to, bytes);
  return false;
}

// `bytes` from a huge page's beginning on; null if there is no room for them.
std::byte* reserve(size_t bytes) {
  void* p = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  auto* begin = static_cast<std::byte*>(p);
  auto* room = reinterpret_cast<std::byte*>((address(p) + kHugePage - 1) / kHugePage * kHugePage);
  if (room != begin) munmap(begin, static_cast<size_t>(room - begin));
  munmap(room + bytes, static_cast<size_t>(begin + kHugePage - room));
  madvise(room, bytes, MADV_HUGEPAGE);
  return room;
}

}  // namespace

size_t move_to_huge_pages(std::vector<MemoryRange> ranges, bool lock, bool patient,
                          const std::function<void(int64_t, int64_t)>& progress) {
  if (!has_huge_pages()) return 0;
  size_t total = 0;
  for (const auto& [begin, end] : ranges) total += static_cast<size_t>(end - begin);
  const size_t bytes =
      std::max(2 * kHugePage, (total / kMostPieces + kHugePage - 1) / kHugePage * kHugePage);
  const std::vector<Piece> pieces = cut(std::move(ranges), bytes);
  const size_t all = pieces.size() * bytes;
  if (all == 0 || available_memory_bytes() < static_cast<int64_t>(all) + kReserve) return 0;
  std::byte* room = reserve(all);
  if (room == nullptr) return 0;

  using Clock = std::chrono::steady_clock;
  for (const Piece& piece : pieces) note_replaced_pages(piece.begin);
  const size_t step = std::max<size_t>(1, kTrial / bytes);
  std::atomic<size_t> moved = 0;
  size_t done = 0;
  const auto start = Clock::now();
  while (done < pieces.size()) {
    const size_t now = std::min(step, pieces.size() - done);
    const size_t before = moved;
    thread_pool().parallel_for(static_cast<int64_t>(now), [&](int64_t i) {
      const size_t at = done + static_cast<size_t>(i);
      if (!move(pieces[at], room + at * bytes, bytes)) return;
      ++moved;
      if (lock) lock_memory(pieces[at].begin, bytes);
    });
    done += now;
    progress(static_cast<int64_t>(done), static_cast<int64_t>(pieces.size()));
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const bool slow = !patient && static_cast<double>(done * bytes) < kSlow * seconds;
    const bool short_of_memory =
        available_memory_bytes() < kReserve + static_cast<int64_t>(step * bytes);
    if (moved - before < now || slow || short_of_memory) break;
  }
  if (done < pieces.size()) munmap(room + done * bytes, all - done * bytes);
  return moved * bytes;
}

#else

size_t move_to_huge_pages(std::vector<MemoryRange>, bool, bool,
                          const std::function<void(int64_t, int64_t)>&) {
  return 0;
}

#endif

}  // namespace dsv3
