// The public model classes: the trunk with each of its heads.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "dsv3/model.h"
#include "model/padded_batch.h"
#include "model/pretrained.h"
#include "ops/losses.h"

namespace dsv3 {

using model::Head;
using model::require_finite;
using model::TrunkOutput;

namespace {

Tensor scalar(double value) {
  const auto f = static_cast<float>(value);
  return Tensor::from(std::span(&f, 1), {});
}

Matrix as_matrix(Tensor& t) {
  const int64_t cols = t.dim(-1);
  return {t.as_mutable<float>().data(), t.numel() / cols, cols};
}

ModelOutput output_of(const TrunkOutput& trunk) {
  ModelOutput out;
  out.past_key_values = trunk.past_key_values;
  out.hidden_states = trunk.hidden_states;
  out.attentions = trunk.attentions;
  return out;
}

// head(hidden) for the given rows of [batch * columns, hidden] that are tokens; the others stay
// zero. Result: [rows, out].
Tensor project(const model::LoadedModel& loaded, const ops::LinearWeight& head,
               const TrunkOutput& trunk, std::span<const int64_t> rows) {
  std::vector<int64_t> present;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (trunk.present[rows[i]] != 0) present.push_back(static_cast<int64_t>(i));
  }
  const auto n = static_cast<int64_t>(present.size());
  const int64_t hidden = trunk.last_hidden_state.dim(-1), width = head.out_features();
  const float* in = trunk.last_hidden_state.as<float>().data();
  Tensor result(DType::kF32, {static_cast<int64_t>(rows.size()), width});
  if (n == 0) return result;
  Tensor gathered = Tensor::empty(DType::kF32, {n, hidden});
  Tensor logits = Tensor::empty(DType::kF32, {n, width});
  const Matrix x = as_matrix(gathered), y = as_matrix(logits), all = as_matrix(result);
  for (int64_t i = 0; i < n; ++i) std::copy_n(in + rows[present[i]] * hidden, hidden, x.row(i));
  ops::linear(x, head, y, loaded.options.activations);
  for (int64_t i = 0; i < n; ++i) std::copy_n(y.row(i), width, all.row(present[i]));
  require_finite(result, "logits");
  return result;
}

// Columns whose logits are asked for.
std::vector<int64_t> kept_columns(const ForwardArgs& args, int64_t columns) {
  std::vector<int64_t> kept;
  if (args.logits_to_keep_indices.defined()) {
    const Tensor& t = args.logits_to_keep_indices;
    if (t.dtype() != DType::kI64 || t.rank() != 1) {
      fail("logits_to_keep: expected I64 [columns], found {} {}", dtype_name(t.dtype()),
           shape_string(t.shape()));
    }
    for (const int64_t c : t.as<int64_t>()) {
      if (c < -columns || c >= columns) {
        fail("logits_to_keep: index {} is outside of a sequence of {} columns", c, columns);
      }
      kept.push_back(c < 0 ? c + columns : c);
    }
    return kept;
  }
  if (args.logits_to_keep < 0)
    fail("logits_to_keep: expected 0 or more, found {}", args.logits_to_keep);
  const int64_t n = args.logits_to_keep == 0 ? columns : std::min(columns, args.logits_to_keep);
  for (int64_t c = columns - n; c < columns; ++c) kept.push_back(c);
  return kept;
}

std::span<const int64_t> integer_labels(const Tensor& labels, const Shape& expected) {
  if (labels.dtype() != DType::kI64 || labels.shape() != expected) {
    fail("labels: expected I64 {}, found {} {}", shape_string(expected), dtype_name(labels.dtype()),
         shape_string(labels.shape()));
  }
  return labels.as<int64_t>();
}

// A loss must not depend on the logits of a column that attention_mask calls padding: they have no
// defined value.
void require_present(const TrunkOutput& trunk, int64_t row, int64_t column, int64_t label,
                     int64_t label_column) {
  if (label == ops::kIgnoreIndex || trunk.present[row * trunk.columns + column] != 0) return;
  fail(
      "labels[{}, {}] is {}, to be predicted from column {}, which attention_mask excludes: set it "
      "to {}",
      row, label_column, label, column, ops::kIgnoreIndex);
}

double causal_loss(const TrunkOutput& trunk, const ForwardArgs& args, Tensor& logits, size_t kept) {
  if (kept != static_cast<size_t>(trunk.columns)) {
    fail("labels need the logits of all {} columns; logits_to_keep asks for {}", trunk.columns,
         kept);
  }
  const auto labels = integer_labels(args.labels, {trunk.batch, trunk.columns});
  std::vector<int64_t> shifted(labels.size(), ops::kIgnoreIndex);
  for (int64_t b = 0; b < trunk.batch; ++b) {
    for (int64_t s = 0; s + 1 < trunk.columns; ++s) {
      const int64_t label = labels[b * trunk.columns + s + 1];
      require_present(trunk, b, s, label, s + 1);
      shifted[b * trunk.columns + s] = label;
    }
  }
  return ops::cross_entropy(as_matrix(logits), shifted, args.num_items_in_batch);
}

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
  ModelOutput out = output_of(trunk);
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
  ModelOutput out = output_of(trunk);
  out.last_hidden_state = trunk.last_hidden_state;
  const std::vector<int64_t> kept = kept_columns(args, trunk.columns);
  std::vector<int64_t> rows;
  for (int64_t b = 0; b < trunk.batch; ++b) {
    for (const int64_t c : kept) rows.push_back(b * trunk.columns + c);
  }
  out.logits =
      project(*loaded_, loaded_->weights.lm_head, trunk, rows)
          .reshape({trunk.batch, static_cast<int64_t>(kept.size()), loaded_->config.vocab_size});
  if (args.labels.defined()) out.loss = scalar(causal_loss(trunk, args, out.logits, kept.size()));
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
    const auto all = integer_labels(labels, {batch, columns});
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

namespace {

// The column whose logits stand for a row: the last token that is not pad_token_id. Tokens are
// looked at, not the mask.
int64_t pooled_column(const DeepseekV3Config& config, const ForwardArgs& args,
                      const TrunkOutput& trunk, int64_t row) {
  if (!config.pad_token_id || !args.input_ids.defined()) return trunk.columns - 1;
  const auto ids = args.input_ids.as<int64_t>().subspan(row * trunk.columns, trunk.columns);
  for (int64_t c = trunk.columns - 1; c > 0; --c) {
    if (ids[c] != *config.pad_token_id) return c;
  }
  return 0;
}

double classification_loss(const DeepseekV3Config& config, const Tensor& labels, Tensor& logits) {
  std::string type = config.problem_type;
  if (type.empty()) {
    type = config.num_labels == 1          ? "regression"
           : labels.dtype() == DType::kI64 ? "single_label_classification"
                                           : "multi_label_classification";
  }
  const int64_t batch = logits.dim(0);
  if (type == "single_label_classification") {
    return ops::cross_entropy(as_matrix(logits),
                              integer_labels(labels.reshape({labels.numel()}), {batch}));
  }
  if (labels.dtype() != DType::kF32 || labels.numel() != logits.numel()) {
    fail("labels: {} expects F32 {}, found {} {}", type, shape_string(logits.shape()),
         dtype_name(labels.dtype()), shape_string(labels.shape()));
  }
  return type == "regression"
             ? ops::mean_squared_error(logits.as<float>(), labels.as<float>())
             : ops::binary_cross_entropy_with_logits(logits.as<float>(), labels.as<float>());
}

}  // namespace

ModelOutput DeepseekV3ForSequenceClassification::forward(const ForwardArgs& args) const {
  require_head(*loaded_, Head::kSequenceClassification, "DeepseekV3ForSequenceClassification");
  const model::CacheRollback rollback(args.past_key_values);
  const DeepseekV3Config& config = loaded_->config;
  const TrunkOutput trunk = run_trunk(*loaded_, args);
  if (!config.pad_token_id && trunk.batch > 1) {
    fail(
        "sequence classification of a batch of {} needs pad_token_id in config.json to find each "
        "sequence's end",
        trunk.batch);
  }
  std::vector<int64_t> rows;
  for (int64_t b = 0; b < trunk.batch; ++b) {
    const int64_t c = pooled_column(config, args, trunk, b);
    if (trunk.present[b * trunk.columns + c] == 0) {
      fail(
          "attention_mask excludes column {} of row {}, whose token is the last that is not "
          "pad_token_id {}",
          c, b, config.pad_token_id.value_or(-1));
    }
    rows.push_back(b * trunk.columns + c);
  }
  ModelOutput out = output_of(trunk);
  out.logits = project(*loaded_, loaded_->weights.score, trunk, rows);
  if (args.labels.defined())
    out.loss = scalar(classification_loss(config, args.labels, out.logits));
  return out;
}

DeepseekV3ForTokenClassification DeepseekV3ForTokenClassification::from_pretrained(
    const std::filesystem::path& path, const LoadOptions& options) {
  return DeepseekV3ForTokenClassification(
      model::load_pretrained(path, Head::kTokenClassification, options));
}

ModelOutput DeepseekV3ForTokenClassification::forward(const ForwardArgs& args) const {
  require_head(*loaded_, Head::kTokenClassification, "DeepseekV3ForTokenClassification");
  const model::CacheRollback rollback(args.past_key_values);
  const TrunkOutput trunk = run_trunk(*loaded_, args);
  std::vector<int64_t> rows(trunk.batch * trunk.columns);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int64_t>(i);
  ModelOutput out = output_of(trunk);
  out.logits = project(*loaded_, loaded_->weights.score, trunk, rows)
                   .reshape({trunk.batch, trunk.columns, loaded_->config.num_labels});
  if (args.labels.defined()) {
    const auto labels = integer_labels(args.labels, {trunk.batch, trunk.columns});
    for (int64_t i = 0; i < static_cast<int64_t>(labels.size()); ++i) {
      require_present(trunk, i / trunk.columns, i % trunk.columns, labels[i], i % trunk.columns);
    }
    out.loss = scalar(ops::cross_entropy(as_matrix(out.logits), labels));
  }
  return out;
}

}  // namespace dsv3
