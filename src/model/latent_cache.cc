#include "model/latent_cache.h"

#include <cstring>

#include "base/error.h"
#include "formats/float_formats.h"

namespace dsv3::model {
namespace {
int64_t pages_for(int64_t tokens) { return (tokens + ops::kPageTokens - 1) / ops::kPageTokens; }
}  // namespace

LatentCache::LatentCache(int64_t num_layers, int64_t width, DType dtype,
                         std::optional<int64_t> capacity)
    : num_layers_(num_layers), width_(width), dtype_(dtype), capacity_(capacity) {
  if (dtype != DType::kF32 && dtype != DType::kBF16) {
    fail("latent cache: expected F32 or BF16 elements, found {}", dtype_name(dtype));
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
    const int64_t kept = std::max<int64_t>(0, length_ - p * ops::kPageTokens);
    const int64_t row_bytes = layer_bytes() / ops::kPageTokens;
    for (int64_t l = 0; l < num_layers_; ++l) {
      std::memcpy(own.get() + l * layer_bytes(), pages_[p].get() + l * layer_bytes(),
                  static_cast<size_t>(kept * row_bytes));
    }
    pages_[p] = std::move(own);
  }
}

void LatentCache::store(int64_t layer, int64_t token, const float* row) {
  std::byte* at = pages_[token / ops::kPageTokens].get() + layer * layer_bytes() +
                  token % ops::kPageTokens * (layer_bytes() / ops::kPageTokens);
  if (dtype_ == DType::kF32) {
    std::memcpy(at, row, static_cast<size_t>(width_) * sizeof(float));
  } else {
    auto* out = reinterpret_cast<uint16_t*>(at);
    for (int64_t i = 0; i < width_; ++i) out[i] = formats::float_to_bf16(row[i]);
  }
}

std::vector<const void*> LatentCache::pages(int64_t layer, int64_t n_tokens) const {
  std::vector<const void*> result(pages_for(n_tokens));
  for (size_t p = 0; p < result.size(); ++p) result[p] = pages_[p].get() + layer * layer_bytes();
  return result;
}

void LatentCache::crop(int64_t length) {
  if (length < 0 || length > length_)
    fail("cannot crop a cache of {} tokens to {}", length_, length);
  length_ = length;
  if (!capacity_) pages_.resize(pages_for(length));
}

}  // namespace dsv3::model
