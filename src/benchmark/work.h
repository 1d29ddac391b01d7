#pragma once

#include <cstdint>
#include <vector>

#include "model/pretrained.h"

namespace dsv3::benchmark {

/// What a computation has to read and to calculate at least, whatever the kernels do.
struct Work {
  double weight_bytes = 0;
  double cache_bytes = 0;
  double operations = 0;  ///< a multiplication and an addition are two

  double bytes() const { return weight_bytes + cache_bytes; }
  Work& operator+=(const Work& other);
};

/// One forward pass over a ragged batch.
struct Pass {
  /// The new tokens of one sequence and those that it held before.
  struct Sequence {
    int64_t past = 0, n_tokens = 0;
  };
  std::vector<Sequence> sequences;
  /// Different routed experts that the pass uses, by layer (0 for dense ones).
  std::vector<int64_t> experts_used;
};

/// Counts the work of passes of one model.
class WorkCounter {
 public:
  /// `cache_bytes_per_token`: of all layers.
  WorkCounter(const model::LoadedModel& model, double cache_bytes_per_token);

  /// Reads every weight but routed experts and the embedding once, the experts used once, the
  /// tokens' rows of the embedding, and each sequence's cache once. Calculates two operations for
  /// every weight that a token goes through, the head for one token of a sequence, and scores and
  /// sums of attention over keys and values of their full width.
  Work of(const Pass& pass) const;

  int64_t weight_bytes() const { return total_bytes_; }  ///< of the whole model
  int64_t parameters() const { return parameters_; }     ///< of the whole model
  int64_t active_parameters() const;                     ///< that a token goes through, with head

 private:
  double fixed_bytes_ = 0, embedding_row_bytes_ = 0, cache_bytes_per_token_;
  std::vector<double> expert_bytes_;  // by layer, of one expert; 0 for dense layers
  double fixed_weights_ = 0, head_weights_ = 0, chosen_expert_weights_ = 0;
  double operations_per_key_;  // and query, of all layers
  int64_t total_bytes_ = 0, parameters_ = 0;
};

}  // namespace dsv3::benchmark
