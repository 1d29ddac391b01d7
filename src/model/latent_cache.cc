#include "model/latent_cache.h"

#include <cstring>

#include "base/error.h"
#include "kernels/attention/latent_page.h"

namespace dsv3::model {
namespace {
int64_t pages_for(int64_t tokens) { return (tokens + ops::kPageTokens - 1) / ops::kPageTokens; }
}  // namespace

ops::LatentLayout latent_layout(const DeepseekV3Config& config, DType dtype) {
  return {.dtype = dtype, .rank = config.kv_lora_rank, .rope = config.qk_rope_head_dim};
}

LatentCache::LatentCache(int64_t num_layers, const ops::LatentLayout& layout,
                         std::optional<int64_t> capacity)
    : num_layers_(num_layers), layout_(layout), capacity_(capacity) {
  if (layout.dtype != DType::kF32 && layout.dtype != DType::kBF16 && layout.dtype != DType::kI8) {
    fail("latent cache: expected F32, BF16 or I8 elements, found {}", dtype_name(layout.dtype));
  }
  if (!capacity) return;
  for (int64_t p = 0; p < pages_for(*capacity); ++p) pages_.push_back(new_page());
}

std::shared_ptr<std::byte[]> LatentCache::new_page() const {
  // for_overwrite: pages are touched when tokens are written, not now.
  return std::make_shared_for_overwrite<std::byte[]>(
      static_cast<size_t>(num_layers_ * layer_bytes()));
}

int64_t LatentCache::bytes() const {
  return static_cast<int64_t>(pages_.size()) * num_layers_ * layer_bytes();
}

void LatentCache::prepare(int64_t n) {
  const int64_t needed = length_ + n;
  if (capacity_ && needed > *capacity_) {
    fail("static cache: {} tokens held and {} new ones do not fit its capacity of {}", length_, n,
         *capacity_);
  }
  while (static_cast<int64_t>(pages_.size()) < pages_for(needed)) pages_.push_back(new_page());
  for (int64_t p = length_ / ops::kPageTokens; p < pages_for(needed); ++p) {
    if (pages_[p].use_count() == 1) continue;
    auto own = new_page();
    // Only the first page can hold tokens that have to be kept.
    if (p * ops::kPageTokens < length_)
      std::memcpy(own.get(), pages_[p].get(), static_cast<size_t>(num_layers_ * layer_bytes()));
    pages_[p] = std::move(own);
  }
}

void LatentCache::store(int64_t layer, int64_t token, const float* row) {
  std::byte* page = pages_[token / ops::kPageTokens].get() + layer * layer_bytes();
  kernels::store_latent(layout_, page, token % ops::kPageTokens, row);
}

size_t LatentCache::append_pages(int64_t layer, int64_t n_tokens,
                                 std::vector<const void*>& to) const {
  const auto n = static_cast<size_t>(pages_for(n_tokens));
  for (size_t p = 0; p < n; ++p) to.push_back(pages_[p].get() + layer * layer_bytes());
  return n;
}

std::vector<const void*> LatentCache::pages(int64_t layer, int64_t n_tokens) const {
  std::vector<const void*> result;
  append_pages(layer, n_tokens, result);
  return result;
}

void LatentCache::crop(int64_t length) {
  if (length < 0 || length > length_)
    fail("cannot crop a cache of {} tokens to {}", length_, length);
  length_ = length;
  if (!capacity_) pages_.resize(pages_for(length));
}

}  // namespace dsv3::model
