#include "base/memory.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/file.h"

namespace dsv3 {

int64_t usable_memory_bytes() {
  int64_t bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  std::ifstream limit("/sys/fs/cgroup/memory.max");
  if (int64_t group = 0; limit >> group) bytes = std::min(bytes, group);
  return bytes;
}

int64_t available_memory_bytes() {
  // "name: value kB" in /proc/meminfo, "name value" in bytes in memory.stat.
  const auto value = [](const char* path, const std::string& name) -> int64_t {
    std::ifstream in(path);
    std::string key;
    for (int64_t number = 0; in >> key >> number; in.ignore(64, '\n'))
      if (key == name) return number;
    return -1;
  };
  int64_t available = value("/proc/meminfo", "MemAvailable:");
  available = available < 0 ? usable_memory_bytes() / 2 : available * 1024;
  std::ifstream limit("/sys/fs/cgroup/memory.max"), current("/sys/fs/cgroup/memory.current");
  if (int64_t most = 0, now = 0; limit >> most && current >> now) {
    const char* stat = "/sys/fs/cgroup/memory.stat";
    const int64_t files = value(stat, "active_file") + value(stat, "inactive_file");
    available = std::min(available, most - now + std::max<int64_t>(files, 0));
  }
  return available;
}

int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

void release_mapped(const void* begin, size_t bytes) {
  // What has replaced pages of the file is not read again from there.
  if (!is_mapped(begin, bytes) || has_replaced_pages(begin)) return;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto first = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
  const auto last = (reinterpret_cast<uintptr_t>(begin) + bytes) / page * page;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

namespace {

// The whole pages that a range touches.
std::pair<void*, size_t> pages_around(const void* begin, size_t bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(begin) / page * page;
  const auto last = (reinterpret_cast<uintptr_t>(begin) + bytes + page - 1) / page * page;
  return {reinterpret_cast<void*>(first), last - first};
}

}  // namespace

void page_in_mapped(const void* begin, size_t bytes) {
  if (bytes == 0 || !is_mapped(begin, bytes)) return;
  const auto [first, length] = pages_around(begin, bytes);
#ifdef MADV_POPULATE_READ
  if (madvise(first, length, MADV_POPULATE_READ) == 0) return;
#endif
  madvise(first, length, MADV_WILLNEED);  // before Linux 5.14
}

void interleave_memory() {
#if defined(__linux__) && defined(SYS_set_mempolicy)
  std::ifstream online("/sys/devices/system/node/online");
  std::string list;
  if (!(online >> list)) return;
  std::array<uint64_t, 16> nodes{};  // 1024 nodes, what Linux has at most
  int count = 0;
  std::istringstream parts(list);
  for (std::string part; std::getline(parts, part, ',');) {
    const size_t dash = part.find('-');
    const unsigned long first = std::stoul(part);
    const unsigned long last =
        dash == std::string::npos ? first : std::stoul(part.substr(dash + 1));
    for (unsigned long node = first; node <= last && node < 1024; ++node, ++count) {
      nodes[node / 64] |= uint64_t{1} << node % 64;
    }
  }
  if (count < 2) return;
  constexpr int kInterleave = 3;  // MPOL_INTERLEAVE
  if (syscall(SYS_set_mempolicy, kInterleave, nodes.data(), 1024UL) != 0) {
    fail("cannot interleave memory over {} NUMA nodes: {}", count, std::strerror(errno));
  }
#endif
}

void lock_memory(const void* begin, size_t bytes) {
  if (bytes == 0) return;
  const auto [first, length] = pages_around(begin, bytes);
  if (mlock(first, length) == 0) return;
  const int error = errno;
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  fail("cannot keep {} bytes in memory: {}; this process may lock {} bytes (ulimit -l)", length,
       std::strerror(error),
       limit.rlim_cur == RLIM_INFINITY ? "any number of" : std::to_string(limit.rlim_cur));
}

}  // namespace dsv3
