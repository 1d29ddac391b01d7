#pragma once

#include <optional>
#include <vector>

#include "dsv3/cache.h"
#include "model/latent_cache.h"

namespace dsv3 {

/// A batch of latent caches and which of the columns seen so far hold tokens.
struct Cache::Impl {
  int64_t num_layers = 0;
  ops::LatentLayout layout;
  std::optional<int64_t> max_batch_size, capacity;  ///< static caches

  /// One cache a row, and for each column whether it was a token (1) or padding (0). Rows have the
  /// same number of columns.
  std::vector<model::LatentCache> rows;
  std::vector<std::vector<uint8_t>> columns;

  /// Makes the cache ready for a batch of this size, or throws if it holds another one.
  void set_batch_size(int64_t batch);
};

}  // namespace dsv3
