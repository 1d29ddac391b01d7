#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "dsv3/config.h"
#include "dsv3/tensor.h"

namespace dsv3 {

/// `past_key_values`: what earlier forward calls left for later ones. For each sequence, token and
/// layer it holds the normalised latent (kv_lora_rank numbers) and the rotated shared key
/// (qk_rope_head_dim numbers), not the expanded keys and values. Padding is not stored, only
/// counted. Sources: Hugging Face `DynamicCache`, `StaticCache`.
///
/// A forward call with a cache appends to it; one cache belongs to one conversation (or batch) and
/// must not be used by two calls at the same time. A call that throws leaves the tokens in it as
/// they were. A cache that holds no columns (new, or cropped to 0) takes a batch of any size that
/// it has room for.
class Cache {
 public:
  /// Grows as needed (DynamicCache). `dtype`: F32; BF16 for half the memory (each number is rounded,
  /// by up to 2^-9 of itself); I8 for little more than a quarter (latents in 8 bits, rounded by up
  /// to 1/254 of the largest of each 128; rotated keys in BF16). With BF16 and I8 attention is also
  /// computed in such numbers where the processor does so, which is faster.
  static std::shared_ptr<Cache> dynamic(const DeepseekV3Config& config, DType dtype = DType::kF32);
  /// Room for `max_batch_size` sequences of `max_cache_len` tokens, allocated now (StaticCache). A
  /// forward call that would run past it throws Error and changes nothing.
  static std::shared_ptr<Cache> fixed(const DeepseekV3Config& config, int64_t max_batch_size,
                                      int64_t max_cache_len, DType dtype = DType::kF32);
  ~Cache();

  /// Columns seen so far, padding included: what an attention_mask of the next call has to cover
  /// besides its own.
  int64_t get_seq_length() const;
  /// Sequences; 0 before the first call of a dynamic cache.
  int64_t batch_size() const;
  /// Bytes allocated.
  int64_t bytes() const;
  /// Forgets all columns from `length` on; a negative length forgets the last -length columns (as
  /// in transformers).
  void crop(int64_t length);
  /// An independent copy. Memory is shared until one of the two is written to.
  std::shared_ptr<Cache> copy() const;
  /// Row i becomes a copy of former row `rows[i]` (beam search: reorder_cache).
  void reorder(std::span<const int64_t> rows);

  /// The library's own side.
  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  explicit Cache(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsv3
