#pragma once

#include <cstddef>
#include <cstdint>

namespace dsv3 {

/// Bytes of memory that this process may use: the machine's, or less if a control group says so.
int64_t usable_memory_bytes();
/// Bytes that can be taken without pushing out more than what the page cache holds.
int64_t available_memory_bytes();
/// Largest resident set of this process so far, bytes.
int64_t peak_resident_bytes();

/// Tells the system that a range of a mapped file is not needed for now: its pages leave the
/// resident set, and memory if somebody else needs it. Reading them again brings them back. Only
/// whole pages within the range; memory that is no mapped file is left alone.
void release_mapped(const void* begin, size_t bytes);

/// Reads a range of a mapped file into memory and into the page tables, which touching it page by
/// page would do more slowly; memory that is no mapped file is left alone.
void page_in_mapped(const void* begin, size_t bytes);
/// Spreads the memory that this process takes from now on evenly over the machine's NUMA nodes,
/// files read into the page cache included. Does nothing on a machine with one node; Error if the
/// system refuses.
void interleave_memory();
/// Keeps a range in memory (mlock). Throws Error if the system does not allow it.
void lock_memory(const void* begin, size_t bytes);

}  // namespace dsv3
