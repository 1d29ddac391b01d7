#pragma once

#include <span>
#include <vector>

#include "dsv3/model.h"
#include "model/padded_batch.h"
#include "model/pretrained.h"

namespace dsv3::model {

/// What calls of all classes return of the trunk alone.
ModelOutput output_of(const TrunkOutput& trunk);

/// Where a loss's gradient enters a head.
struct HeadGradient {
  std::vector<int64_t> rows;  ///< of [batch * columns], which the head was applied to
  Tensor d_logits;            ///< [rows, out]; zero for rows of padding
};

/// The model's head on a trunk's output: logits, and the loss if there are labels. Also the
/// gradient of the loss if it is asked for, in float32. Source: DeepseekV3ForCausalLM,
/// GenericForSequenceClassification, GenericForTokenClassification.
ModelOutput run_head(const LoadedModel& model, const ForwardArgs& args, const TrunkOutput& trunk,
                     HeadGradient* gradient = nullptr);

/// Labels of a shape; Error if they are not I64 or of another.
std::span<const int64_t> integer_labels(const Tensor& labels, const Shape& expected);
/// A tensor as rows of its last axis.
Matrix as_matrix(Tensor& t);
/// A float32 number as a tensor [].
Tensor scalar(double value);

}  // namespace dsv3::model
