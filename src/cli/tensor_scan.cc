#include "cli/tensor_scan.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "base/log.h"
#include "base/thread_pool.h"
#include "formats/float_formats.h"
#include "kernels/block_decode/block_decode.h"

namespace dsv3::cli {
namespace {

/// Elements looked at without a branch; only a block with a bad one is looked at again.
constexpr int64_t kBlock = 4096;
/// Elements of one task.
constexpr int64_t kChunk = int64_t{8} << 20;

/// T: the element as an unsigned integer. An element whose `mask` bits are all set is not finite.
template <typename T, typename ToFloat>
ScanResult scan_as(const T* data, int64_t begin, int64_t end, T mask, ToFloat to_float,
                   bool positive) {
  ScanResult result;
  for (int64_t i = begin; i < end; i += kBlock) {
    const int64_t stop = std::min(end, i + kBlock);
    T bad = 0;
    for (int64_t j = i; j < stop; ++j) bad |= static_cast<T>((data[j] & mask) == mask);
    if (bad == 0 && !positive) continue;
    for (int64_t j = i; j < stop; ++j) {
      const double value = to_float(data[j]);
      if (!std::isfinite(value)) {
        ++(std::isnan(value) ? result.nan : result.infinite);
        if (result.first_bad < 0) result.first_bad = j;
      } else if (value <= 0) {
        ++result.not_positive;
        if (result.first_not_positive < 0) result.first_not_positive = j;
      }
    }
  }
  return result;
}

void merge(ScanResult& into, const ScanResult& part) {
  const auto first = [](int64_t a, int64_t b) { return a < 0 ? b : b < 0 ? a : std::min(a, b); };
  into.nan += part.nan;
  into.infinite += part.infinite;
  into.not_positive += part.not_positive;
  into.first_bad = first(into.first_bad, part.first_bad);
  into.first_not_positive = first(into.first_not_positive, part.first_not_positive);
}

// Blocks are decoded: what their scales make of them must be finite.
ScanResult scan_blocks(const Tensor& t, int64_t begin, int64_t end) {
  ScanResult result;
  std::vector<float> values(kBlock);
  for (int64_t i = begin; i < end; i += kBlock) {
    const int64_t n = std::min(kBlock, end - i);
    kernels::decode_blocks(t.dtype(),
                           static_cast<const std::byte*>(t.raw()) + dtype_bytes(t.dtype(), i), n,
                           values.data());
    ScanResult part = scan_as(
        reinterpret_cast<const uint32_t*>(values.data()), 0, n, uint32_t{0x7F80'0000},
        [](uint32_t x) { return std::bit_cast<float>(x); }, false);
    if (part.first_bad >= 0) part.first_bad += i;
    merge(result, part);
  }
  return result;
}

ScanResult scan_range(const Tensor& t, int64_t begin, int64_t end, bool positive) {
  if (is_block_format(t.dtype())) return scan_blocks(t, begin, end);
  const void* data = t.raw();
  switch (t.dtype()) {
    case DType::kF64:
      return scan_as(
          static_cast<const uint64_t*>(data), begin, end, uint64_t{0x7FF0'0000'0000'0000},
          [](uint64_t x) { return std::bit_cast<double>(x); }, positive);
    case DType::kF32:
      return scan_as(
          static_cast<const uint32_t*>(data), begin, end, uint32_t{0x7F80'0000},
          [](uint32_t x) { return std::bit_cast<float>(x); }, positive);
    case DType::kF16:
      return scan_as(static_cast<const uint16_t*>(data), begin, end, uint16_t{0x7C00},
                     formats::f16_to_float, positive);
    case DType::kBF16:
      return scan_as(static_cast<const uint16_t*>(data), begin, end, uint16_t{0x7F80},
                     formats::bf16_to_float, positive);
    case DType::kF8E4M3:
      return scan_as(static_cast<const uint8_t*>(data), begin, end, uint8_t{0x7F},
                     formats::e4m3_to_float, positive);
    case DType::kF8E8M0:
      return scan_as(static_cast<const uint8_t*>(data), begin, end, uint8_t{0xFF},
                     formats::e8m0_to_float, positive);
    default:
      return {};
  }
}

struct Task {
  size_t tensor;
  int64_t begin, end;
};

}  // namespace

bool is_scale(const std::string& name) { return name.ends_with("_scale_inv"); }

std::vector<TensorFinding> scan_checkpoint(const Checkpoint& checkpoint) {
  int64_t total = 0, done = 0;
  for (const auto& shard : checkpoint.shards()) {
    for (const TensorEntry& entry : shard->tensors()) total += static_cast<int64_t>(entry.bytes);
  }
  std::vector<TensorFinding> findings;
  std::mutex mutex;
  for (const auto& shard : checkpoint.shards()) {
    const auto& entries = shard->tensors();
    std::vector<Tensor> tensors;
    std::vector<ScanResult> results(entries.size());
    std::vector<Task> tasks;
    for (size_t i = 0; i < entries.size(); ++i) {
      tensors.push_back(shard->tensor(entries[i].name));
      for (int64_t begin = 0, n = tensors[i].numel(); begin < n; begin += kChunk) {
        tasks.push_back({i, begin, std::min(n, begin + kChunk)});
      }
    }
    thread_pool().parallel_for(static_cast<int64_t>(tasks.size()), [&](int64_t index) {
      const Task& task = tasks[static_cast<size_t>(index)];
      const Tensor& tensor = tensors[task.tensor];
      const ScanResult part =
          scan_range(tensor, task.begin, task.end, is_scale(entries[task.tensor].name));
      const std::lock_guard lock(mutex);
      merge(results[task.tensor], part);
      done += static_cast<int64_t>(dtype_bytes(tensor.dtype(), task.end - task.begin));
      report_progress("verifying", done, total);
    });
    for (size_t i = 0; i < entries.size(); ++i) {
      const ScanResult& r = results[i];
      if (!is_scale(entries[i].name) && r.first_bad < 0) continue;
      if (r.first_bad < 0 && r.first_not_positive < 0) continue;
      findings.push_back({entries[i].name, shard->path().filename().string(), entries[i].dtype,
                          entries[i].shape, r});
    }
  }
  return findings;
}

}  // namespace dsv3::cli
