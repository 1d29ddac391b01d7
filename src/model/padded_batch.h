#pragma once

#include <memory>
#include <vector>

#include "dsv3/model.h"
#include "model/cache_impl.h"
#include "model/pretrained.h"

namespace dsv3::model {

/// A padded Hugging Face call, (batch, columns), run through the ragged engine.
struct TrunkOutput {
  int64_t batch = 0, columns = 0;  ///< of this call
  Tensor last_hidden_state;        ///< [batch, columns, hidden]; zero where `present` is 0
  std::vector<uint8_t> present;    ///< [batch * columns]: 1 for tokens, 0 for padding
  std::vector<Tensor> hidden_states, attentions;
  std::shared_ptr<Cache> past_key_values;
};

/// What the backward pass needs of a call: the ragged batch and its activations.
struct KeptTrunk {
  Activations activations;
  std::vector<int64_t> slots;  ///< [tokens]: row * columns + column of each
  struct Sequence {
    int64_t n_tokens = 0;
    std::vector<uint8_t> visible;  ///< of each token; empty: all
  };
  std::vector<Sequence> sequences;
};

/// DeepseekV3Model.forward: checks the arguments, packs the tokens that are not padding into one
/// ragged batch, runs it, and spreads the results over the padded shapes. `keep`, if not null,
/// receives what the backward pass needs; the call then has no cache.
TrunkOutput run_trunk(const LoadedModel& model, const ForwardArgs& args, KeptTrunk* keep = nullptr);

/// Takes out of a cache (may be null) what a call has added if the call ends with an exception: one
/// that fails after the layers have run, by a label out of range or a NaN in the logits, leaves the
/// cache as it was too.
class CacheRollback {
 public:
  explicit CacheRollback(std::shared_ptr<Cache> cache);
  ~CacheRollback();
  CacheRollback(const CacheRollback&) = delete;
  CacheRollback& operator=(const CacheRollback&) = delete;

 private:
  std::shared_ptr<Cache> cache_;
  int64_t length_;
  int exceptions_;
};

/// Throws Error naming row and column if a token id is not in the vocabulary.
void require_token(int64_t id, int64_t row, int64_t column, int64_t vocab_size);

/// Throws Error naming the first number in `values` that is NaN or infinite.
void require_finite(const Tensor& values, const char* what);

}  // namespace dsv3::model
