#include <algorithm>
#include <utility>

#include "base/error.h"
#include "model/cache_impl.h"

namespace dsv3 {
namespace {

std::unique_ptr<Cache::Impl> new_impl(const DeepseekV3Config& config, DType dtype) {
  if (dtype != DType::kF32 && dtype != DType::kBF16 && dtype != DType::kI8) {
    fail("cache: expected elements F32, BF16 or I8, found {}", dtype_name(dtype));
  }
  auto impl = std::make_unique<Cache::Impl>();
  impl->num_layers = config.num_hidden_layers;
  impl->layout = model::latent_layout(config, dtype);
  return impl;
}

}  // namespace

Cache::Cache(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Cache::~Cache() = default;

std::shared_ptr<Cache> Cache::dynamic(const DeepseekV3Config& config, DType dtype) {
  return std::shared_ptr<Cache>(new Cache(new_impl(config, dtype)));
}

std::shared_ptr<Cache> Cache::fixed(const DeepseekV3Config& config, int64_t max_batch_size,
                                    int64_t max_cache_len, DType dtype) {
  if (max_batch_size < 1 || max_cache_len < 1) {
    fail("static cache: expected a positive batch size and length, found {} and {}", max_batch_size,
         max_cache_len);
  }
  auto impl = new_impl(config, dtype);
  impl->max_batch_size = max_batch_size;
  impl->capacity = max_cache_len;
  for (int64_t b = 0; b < max_batch_size; ++b) {
    impl->rows.emplace_back(impl->num_layers, impl->layout, max_cache_len);
  }
  impl->columns.resize(max_batch_size);
  return std::shared_ptr<Cache>(new Cache(std::move(impl)));
}

void Cache::Impl::set_batch_size(int64_t batch) {
  const auto held = static_cast<int64_t>(rows.size());
  if (batch == held) return;
  const bool holds_nothing = columns.empty() || columns[0].empty();
  if (!holds_nothing) fail("past_key_values holds {} sequences, this call has {}", held, batch);
  if (max_batch_size && batch > *max_batch_size) {
    fail("past_key_values has room for {} sequences, this call has {}", *max_batch_size, batch);
  }
  // A cache that holds nothing, yet or any more, takes any batch.
  rows.resize(batch, model::LatentCache(num_layers, layout));
  for (int64_t b = held; b < batch; ++b)
    rows[b] = model::LatentCache(num_layers, layout, capacity);
  columns.resize(batch);
}

int64_t Cache::get_seq_length() const {
  return impl_->columns.empty() ? 0 : static_cast<int64_t>(impl_->columns[0].size());
}

int64_t Cache::batch_size() const { return static_cast<int64_t>(impl_->rows.size()); }

int64_t Cache::bytes() const {
  int64_t sum = 0;
  for (const auto& row : impl_->rows) sum += row.bytes();
  return sum;
}

void Cache::crop(int64_t length) {
  const int64_t present = get_seq_length();
  if (length < 0) length = std::max<int64_t>(0, present + length);
  if (length >= present) return;
  for (size_t b = 0; b < impl_->rows.size(); ++b) {
    auto& columns = impl_->columns[b];
    columns.resize(length);
    impl_->rows[b].crop(std::count(columns.begin(), columns.end(), 1));
  }
}

std::shared_ptr<Cache> Cache::copy() const {
  return std::shared_ptr<Cache>(new Cache(std::make_unique<Impl>(*impl_)));
}

void Cache::reorder(std::span<const int64_t> order) {
  std::vector<model::LatentCache> rows;
  std::vector<std::vector<uint8_t>> columns;
  for (const int64_t r : order) {
    if (r < 0 || r >= batch_size()) fail("cache: row {} of {} asked for", r, batch_size());
    rows.push_back(impl_->rows[r]);
    columns.push_back(impl_->columns[r]);
  }
  impl_->rows = std::move(rows);
  impl_->columns = std::move(columns);
}

}  // namespace dsv3
