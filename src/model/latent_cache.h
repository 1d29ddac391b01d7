#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "dsv3/config.h"
#include "dsv3/tensor.h"
#include "ops/mla_attention.h"

namespace dsv3::model {

/// How the tokens of a model's cache lie in memory. dtype: F32, BF16 or I8.
ops::LatentLayout latent_layout(const DeepseekV3Config& config, DType dtype);

/// What a token leaves behind for later tokens of its sequence: in each layer the normalised latent
/// [kv_lora_rank] and the rotated shared key [qk_rope_head_dim] (report 2.1.1).
///
/// Memory comes in pages of ops::kPageTokens tokens for all layers. A copy of a cache shares the
/// pages; whoever writes to a shared page gets one of its own first, so beams and rewound
/// conversations cost only what differs.
class LatentCache {
 public:
  /// With `capacity` (tokens) all pages are allocated now and more tokens than that are an Error;
  /// without, pages are added as needed.
  LatentCache(int64_t num_layers, const ops::LatentLayout& layout,
              std::optional<int64_t> capacity = {});

  int64_t length() const { return length_; }
  int64_t num_layers() const { return num_layers_; }
  DType dtype() const { return layout_.dtype; }
  std::optional<int64_t> capacity() const { return capacity_; }
  /// Bytes of all pages, shared ones included.
  int64_t bytes() const;

  /// Makes room for n tokens after the present ones. They count only after `commit`, so that a step
  /// that fails leaves the cache as it was.
  void prepare(int64_t n);
  void commit(int64_t n) { length_ += n; }
  /// Stores the row [kv_lora_rank + qk_rope_head_dim] of a token (present or prepared). Threads may
  /// store different tokens at the same time.
  void store(int64_t layer, int64_t token, const float* row);
  /// The pages of a layer that hold the first n_tokens.
  std::vector<const void*> pages(int64_t layer, int64_t n_tokens) const;
  /// Adds them to `to`; returns how many there are.
  size_t append_pages(int64_t layer, int64_t n_tokens, std::vector<const void*>& to) const;

  /// Forgets the tokens from `length` on. Throws Error if there are fewer.
  void crop(int64_t length);

 private:
  int64_t layer_bytes() const { return layout_.page_bytes(); }
  std::shared_ptr<std::byte[]> new_page() const;

  int64_t num_layers_;
  ops::LatentLayout layout_;
  std::optional<int64_t> capacity_;
  int64_t length_ = 0;
  std::vector<std::shared_ptr<std::byte[]>> pages_;
};

}  // namespace dsv3::model
