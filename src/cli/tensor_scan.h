#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "dsv3/tensor.h"

namespace dsv3::cli {

/// What was found in elements of a tensor.
struct ScanResult {
  int64_t nan = 0;
  int64_t infinite = 0;
  int64_t not_positive = 0;  ///< zero or less
  int64_t first_bad = -1;    ///< index of the first that is not finite, or -1
  int64_t first_not_positive = -1;
};

struct TensorFinding {
  std::string name;
  std::string shard;
  DType dtype = DType::kF32;
  Shape shape;
  ScanResult result;
};

/// Scans all tensors of all shards, on all threads and in the order of the files. Returns those
/// with an element that is not finite, and scales with one that is not positive.
std::vector<TensorFinding> scan_checkpoint(const Checkpoint& checkpoint);

/// Whether the tensor holds FP8 scales.
bool is_scale(const std::string& name);

}  // namespace dsv3::cli
