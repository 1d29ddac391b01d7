#pragma once

#include "dsv3/model.h"
#include "model/pretrained.h"

namespace dsv3::model {

/// A forward call with labels and `loss.backward()`: the call's output, and the gradients of all
/// weights added to `gradients` (float32 tensors of the weights' shapes, as enumerate_tensors names
/// them). For all three heads. Weights are F32 or BF16; input_ids, not inputs_embeds; no
/// past_key_values. Source: what torch's autograd makes of transformers' modules; with pad_token_id
/// the embedding of that token has no gradient from the input.
ModelOutput forward_backward(const LoadedModel& model, const ForwardArgs& args,
                             ModelWeights& gradients);

}  // namespace dsv3::model
