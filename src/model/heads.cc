// The public model classes.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "dsv3/model.h"
#include "model/head.h"
#include "model/padded_batch.h"
#include "model/pretrained.h"
#include "ops/losses.h"

namespace dsv3 {

using model::as_matrix;
using model::Head;
using model::require_finite;
using model::scalar;
using model::TrunkOutput;

namespace {

void require_head(const model::LoadedModel& m, Head head, const char* name) {
  if (m.head != head) fail("{}: the model was loaded with another head", name);
}

}  // namespace

DeepseekV3Model DeepseekV3Model::from_pretrained(const std::filesystem::path& path,
                                                 const LoadOptions& options) {
  return DeepseekV3Model(model::load_pretrained(path, Head::kNone, options));
}

ModelOutput DeepseekV3Model::forward(const ForwardArgs& args) const {
  if (args.labels.defined()) fail("labels: DeepseekV3Model has no head and no loss");
  const model::CacheRollback rollback(args.past_key_values);
  const TrunkOutput trunk = run_trunk(*loaded_, args);
  ModelOutput out = model::output_of(trunk);
  out.last_hidden_state = trunk.last_hidden_state;
  return out;
}

DeepseekV3ForCausalLM DeepseekV3ForCausalLM::from_pretrained(const std::filesystem::path& path,
                                                             const LoadOptions& options) {
  return DeepseekV3ForCausalLM(model::load_pretrained(path, Head::kCausalLm, options));
}

ModelOutput DeepseekV3ForCausalLM::forward(const ForwardArgs& args) const {
  require_head(*loaded_, Head::kCausalLm, "DeepseekV3ForCausalLM");
  const model::CacheRollback rollback(args.past_key_values);
  const TrunkOutput trunk = run_trunk(*loaded_, args);
  ModelOutput out = run_head(*loaded_, args, trunk);
  out.last_hidden_state = trunk.last_hidden_state;
  return out;
}

MtpOutput DeepseekV3ForCausalLM::forward_mtp(const Tensor& input_ids,
                                             const Tensor& last_hidden_state,
                                             const Tensor& labels) const {
  const DeepseekV3Config& config = loaded_->config;
  if (loaded_->weights.mtp.empty()) {
    fail(
        "no multi-token prediction module: num_nextn_predict_layers is {}, or it was not loaded "
        "(load_mtp)",
        config.num_nextn_predict_layers);
  }
  if (input_ids.dtype() != DType::kI64 || input_ids.rank() != 2 || input_ids.dim(0) < 1 ||
      input_ids.dim(1) < 2) {
    fail("input_ids: expected I64 [batch, 2 or more], found {} {}", dtype_name(input_ids.dtype()),
         shape_string(input_ids.shape()));
  }
  const int64_t batch = input_ids.dim(0), columns = input_ids.dim(1), rows = columns - 1;
  const Shape expected = {batch, columns, config.hidden_size};
  if (last_hidden_state.dtype() != DType::kF32 || last_hidden_state.shape() != expected) {
    fail("last_hidden_state: expected F32 {}, found {} {}", shape_string(expected),
         dtype_name(last_hidden_state.dtype()), shape_string(last_hidden_state.shape()));
  }

  const model::MtpWeights& module = loaded_->weights.mtp[0];
  Tensor embeddings = Tensor::empty(DType::kF32, {batch * rows, config.hidden_size});
  Tensor previous = Tensor::empty(DType::kF32, {batch * rows, config.hidden_size});
  std::vector<int64_t> next_ids, positions;
  const auto ids = input_ids.as<int64_t>();
  const float* hidden_in = last_hidden_state.as<float>().data();
  std::vector<model::LatentCache> caches(
      batch, model::LatentCache(1, model::latent_layout(config, DType::kF32)));
  std::vector<model::BatchSequence> sequences;
  for (int64_t b = 0; b < batch; ++b) {
    sequences.push_back({&caches[b], rows});
    for (int64_t i = 0; i < rows; ++i) {
      next_ids.push_back(ids[b * columns + i + 1]);
      model::require_token(next_ids.back(), b, i + 1, config.vocab_size);
      positions.push_back(i);
    }
    std::copy_n(hidden_in + b * columns * config.hidden_size, rows * config.hidden_size,
                previous.as_mutable<float>().data() + b * rows * config.hidden_size);
  }
  model::ModelWeights table;
  table.embed_tokens = module.embed_tokens;
  model::embed_tokens(table, next_ids, as_matrix(embeddings));

  MtpOutput out;
  out.hidden_states = Tensor::empty(DType::kF32, {batch, rows, config.hidden_size});
  out.logits = Tensor::empty(DType::kF32, {batch, rows, config.vocab_size});
  model::forward_mtp(
      config, module, 0, loaded_->options,
      {.sequences = sequences, .positions = positions, .embeddings = as_matrix(embeddings)},
      as_matrix(previous), as_matrix(out.hidden_states));
  ops::linear(as_matrix(out.hidden_states), module.shared_head, as_matrix(out.logits),
              loaded_->options.activations);
  model::require_finite(out.logits, "mtp_logits");
  if (labels.defined()) {
    const auto all = model::integer_labels(labels, {batch, columns});
    std::vector<int64_t> shifted;
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t i = 0; i < rows; ++i) {
        shifted.push_back(i + 2 < columns ? all[b * columns + i + 2] : ops::kIgnoreIndex);
      }
    }
    out.loss = scalar(ops::cross_entropy(as_matrix(out.logits), shifted));
  }
  return out;
}

DeepseekV3ForSequenceClassification DeepseekV3ForSequenceClassification::from_pretrained(
    const std::filesystem::path& path, const LoadOptions& options) {
  return DeepseekV3ForSequenceClassification(
      model::load_pretrained(path, Head::kSequenceClassification, options));
}

ModelOutput DeepseekV3ForSequenceClassification::forward(const ForwardArgs& args) const {
  require_head(*loaded_, Head::kSequenceClassification, "DeepseekV3ForSequenceClassification");
  const model::CacheRollback rollback(args.past_key_values);
  return run_head(*loaded_, args, run_trunk(*loaded_, args));
}

DeepseekV3ForTokenClassification DeepseekV3ForTokenClassification::from_pretrained(
    const std::filesystem::path& path, const LoadOptions& options) {
  return DeepseekV3ForTokenClassification(
      model::load_pretrained(path, Head::kTokenClassification, options));
}

ModelOutput DeepseekV3ForTokenClassification::forward(const ForwardArgs& args) const {
  require_head(*loaded_, Head::kTokenClassification, "DeepseekV3ForTokenClassification");
  const model::CacheRollback rollback(args.past_key_values);
  return run_head(*loaded_, args, run_trunk(*loaded_, args));
}

}  // namespace dsv3
