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

/// DeepseekV3Model.forward: checks the arguments, packs the tokens that are not padding into one ragged batch, runs it,
/// and spreads the results over the padded shapes.
TrunkOutput run_trunk(const LoadedModel& model, const ForwardArgs& args);

/// Throws Error naming the first number in `values` that is NaN or infinite.
void require_finite(const Tensor& values, const char* what);

}  // namespace dsv3::model
