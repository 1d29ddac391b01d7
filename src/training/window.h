#pragma once

#include <cstdint>
#include <vector>

namespace dsv3::training {

/// A stretch of training text: what predicts and what is predicted.
struct Window {
  /// [sequence_length + 1]: the first sequence_length are the input, the last sequence_length the
  /// targets.
  std::vector<int32_t> tokens;
  /// [sequence_length + 1]: which document of the window a token belongs to, from 0, ascending. A
  /// document's end token belongs to it.
  std::vector<int32_t> documents;
};

}  // namespace dsv3::training
