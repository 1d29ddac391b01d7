// The heads on the trunk's output, and their losses.
#include "model/head.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "kernels/elementwise/elementwise_backward.h"
#include "ops/losses.h"

namespace dsv3::model {

ModelOutput output_of(const TrunkOutput& trunk) {
  ModelOutput out;
  out.past_key_values = trunk.past_key_values;
  out.hidden_states = trunk.hidden_states;
  out.attentions = trunk.attentions;
  return out;
}

Tensor scalar(double value) {
  const auto f = static_cast<float>(value);
  return Tensor::from(std::span(&f, 1), {});
}

Matrix as_matrix(Tensor& t) {
  const int64_t cols = t.dim(-1);
  return {t.as_mutable<float>().data(), t.numel() / cols, cols};
}

std::span<const int64_t> integer_labels(const Tensor& labels, const Shape& expected) {
  if (labels.dtype() != DType::kI64 || labels.shape() != expected) {
    fail("labels: expected I64 {}, found {} {}", shape_string(expected), dtype_name(labels.dtype()),
         shape_string(labels.shape()));
  }
  return labels.as<int64_t>();
}

namespace {

// head(hidden) for the given rows of [batch * columns, hidden] that are tokens; the others stay
// zero. Result: [rows, out].
Tensor project(const LoadedModel& loaded, const ops::LinearWeight& head, const TrunkOutput& trunk,
               std::span<const int64_t> rows) {
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

// The loss of rows of logits, and its gradient if d_logits is not null.
double cross_entropy(Tensor& logits, std::span<const int64_t> labels,
                     std::optional<double> num_items, Tensor* d_logits) {
  const double loss = ops::cross_entropy(as_matrix(logits), labels, num_items);
  if (d_logits != nullptr) {
    *d_logits = logits.clone();
    const auto counted =
        static_cast<double>(labels.size()) -
        static_cast<double>(std::count(labels.begin(), labels.end(), ops::kIgnoreIndex));
    ops::cross_entropy_backward(as_matrix(*d_logits), labels,
                                static_cast<float>(1.0 / num_items.value_or(counted)));
  }
  return loss;
}

double causal_loss(const TrunkOutput& trunk, const ForwardArgs& args, size_t kept, Tensor& logits,
                   Tensor* d_logits) {
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
  return cross_entropy(logits, shifted, args.num_items_in_batch, d_logits);
}

double token_loss(const TrunkOutput& trunk, const ForwardArgs& args, Tensor& logits,
                  Tensor* d_logits) {
  const auto labels = integer_labels(args.labels, {trunk.batch, trunk.columns});
  for (int64_t i = 0; i < static_cast<int64_t>(labels.size()); ++i) {
    require_present(trunk, i / trunk.columns, i % trunk.columns, labels[i], i % trunk.columns);
  }
  return cross_entropy(logits, labels, {}, d_logits);
}

double sequence_loss(const DeepseekV3Config& config, const Tensor& labels, Tensor& logits,
                     Tensor* d_logits) {
  std::string type = config.problem_type;
  if (type.empty()) {
    type = config.num_labels == 1          ? "regression"
           : labels.dtype() == DType::kI64 ? "single_label_classification"
                                           : "multi_label_classification";
  }
  if (type == "single_label_classification") {
    return cross_entropy(logits, integer_labels(labels.reshape({labels.numel()}), {logits.dim(0)}),
                         {}, d_logits);
  }
  if (labels.dtype() != DType::kF32 || labels.numel() != logits.numel()) {
    fail("labels: {} expects F32 {}, found {} {}", type, shape_string(logits.shape()),
         dtype_name(labels.dtype()), shape_string(labels.shape()));
  }
  const bool regression = type == "regression";
  const auto x = logits.as<float>(), y = labels.as<float>();
  if (d_logits != nullptr) {
    *d_logits = Tensor::empty(DType::kF32, logits.shape());
    const auto n = static_cast<double>(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      const double gradient =
          regression ? 2 * (double{x[i]} - y[i]) : 1 / (1 + std::exp(-double{x[i]})) - y[i];
      d_logits->as_mutable<float>()[i] = static_cast<float>(gradient / n);
    }
  }
  return regression ? ops::mean_squared_error(x, y) : ops::binary_cross_entropy_with_logits(x, y);
}

// The rows of [batch * columns] that the head is applied to.
std::vector<int64_t> head_rows(const LoadedModel& model, const ForwardArgs& args,
                               const TrunkOutput& trunk) {
  std::vector<int64_t> rows;
  if (model.head == Head::kSequenceClassification) {
    const DeepseekV3Config& config = model.config;
    if (!config.pad_token_id && trunk.batch > 1) {
      fail(
          "sequence classification of a batch of {} needs pad_token_id in config.json to find each "
          "sequence's end",
          trunk.batch);
    }
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
    return rows;
  }
  const std::vector<int64_t> columns =
      kept_columns(model.head == Head::kCausalLm ? args : ForwardArgs{}, trunk.columns);
  for (int64_t b = 0; b < trunk.batch; ++b) {
    for (const int64_t c : columns) rows.push_back(b * trunk.columns + c);
  }
  return rows;
}

}  // namespace

ModelOutput run_head(const LoadedModel& model, const ForwardArgs& args, const TrunkOutput& trunk,
                     HeadGradient* gradient) {
  const bool causal = model.head == Head::kCausalLm;
  const std::vector<int64_t> rows = head_rows(model, args, trunk);
  const ops::LinearWeight& head = causal ? model.weights.lm_head : model.weights.score;
  ModelOutput out = output_of(trunk);
  Tensor logits = project(model, head, trunk, rows);
  out.logits = logits;
  if (model.head != Head::kSequenceClassification) {
    out.logits = logits.reshape(
        {trunk.batch, static_cast<int64_t>(rows.size()) / trunk.batch, head.out_features()});
  }
  if (!args.labels.defined()) {
    if (gradient != nullptr) fail("labels: none given, and without a loss there is no gradient");
    return out;
  }
  Tensor* const d_logits = gradient != nullptr ? &gradient->d_logits : nullptr;
  if (gradient != nullptr) gradient->rows = rows;
  double loss = 0;
  if (causal) {
    loss =
        causal_loss(trunk, args, rows.size() / static_cast<size_t>(trunk.batch), logits, d_logits);
  } else if (model.head == Head::kTokenClassification) {
    loss = token_loss(trunk, args, logits, d_logits);
  } else {
    loss = sequence_loss(model.config, args.labels, logits, d_logits);
  }
  out.loss = scalar(loss);
  return out;
}

}  // namespace dsv3::model
