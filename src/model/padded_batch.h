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

/// DeepseekV3Model.forward: checks the arguments, packs the tokens that are not padding into one
/// ragged batch, runs it, and spreads the results over the padded shapes.
TrunkOutput run_trunk(const LoadedModel& model, const ForwardArgs& args);

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
