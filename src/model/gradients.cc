#include "model/gradients.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/elementwise/elementwise.h"
#include "model/backward.h"
#include "model/head.h"
#include "ops/embedding.h"

namespace dsv3::model {
namespace {

// The gradient of the last hidden states of the tokens, [tokens, hidden], from that of the logits;
// adds to the head's.
Tensor head_backward(const LoadedModel& model, const TrunkOutput& trunk, const KeptTrunk& kept,
                     const HeadGradient& from, ModelWeights& gradients) {
  const bool causal = model.head == Head::kCausalLm;
  const ops::LinearWeight& head = causal ? model.weights.lm_head : model.weights.score;
  const int64_t hidden = model.config.hidden_size, width = head.out_features();
  const auto rows = static_cast<int64_t>(from.rows.size());
  Tensor inputs = Tensor::empty(DType::kF32, {rows, hidden});
  Tensor d_inputs = Tensor::empty(DType::kF32, {rows, hidden});
  Tensor d_logits = from.d_logits;
  const Matrix x = as_matrix(inputs), dx = as_matrix(d_inputs);
  for (int64_t i = 0; i < rows; ++i)
    std::copy_n(trunk.last_hidden_state.as<float>().data() + from.rows[i] * hidden, hidden,
                x.row(i));
  ops::linear_backward(x, head, Matrix(d_logits.as_mutable<float>().data(), rows, width), false, dx,
                       causal ? gradients.lm_head : gradients.score);
  std::vector<int64_t> token_of(trunk.present.size(), -1);
  for (size_t t = 0; t < kept.slots.size(); ++t) token_of[kept.slots[t]] = static_cast<int64_t>(t);
  Tensor result(DType::kF32, {static_cast<int64_t>(kept.slots.size()), hidden});
  const Matrix to = as_matrix(result);
  for (int64_t i = 0; i < rows; ++i) {
    if (token_of[from.rows[i]] >= 0)
      kernels::add(dx.row(i), hidden, to.row(token_of[from.rows[i]]));
  }
  return result;
}

}  // namespace

ModelOutput forward_backward(const LoadedModel& model, const ForwardArgs& args,
                             ModelWeights& gradients) {
  if (!args.input_ids.defined()) fail("gradients: expected input_ids");
  KeptTrunk kept;
  const TrunkOutput trunk = run_trunk(model, args, &kept);
  HeadGradient from;
  ModelOutput out = run_head(model, args, trunk, &from);
  out.last_hidden_state = trunk.last_hidden_state;
  if (kept.slots.empty()) return out;
  Tensor d_hidden = head_backward(model, trunk, kept, from, gradients);
  std::vector<BatchSequence> sequences;
  for (const KeptTrunk::Sequence& s : kept.sequences)
    sequences.push_back({nullptr, s.n_tokens, s.visible.empty() ? nullptr : s.visible.data()});
  const Matrix dx = as_matrix(d_hidden);
  backward(model.config, model.weights, sequences, kept.activations, dx, 0, gradients);
  std::vector<int64_t> ids;
  for (const int64_t slot : kept.slots) ids.push_back(args.input_ids.as<int64_t>()[slot]);
  ops::embed_backward(ids, dx, model.config.pad_token_id.value_or(-1), gradients.embed_tokens);
  return out;
}

}  // namespace dsv3::model
