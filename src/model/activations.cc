#include "model/activations.h"

#include <algorithm>

#include "model/layers.h"

namespace dsv3::model {

void Activations::clear() {
  rotary = {};
  layers.clear();
  last = embeddings = previous = both = {};
  for (Block& block : blocks_) block.used = 0;
  current_ = 0;
}

Matrix Activations::matrix(int64_t rows, int64_t cols) {
  constexpr int64_t kBlockFloats = int64_t{16} << 20, kAlignment = 16;
  const int64_t floats = (rows * cols + kAlignment - 1) / kAlignment * kAlignment;
  while (current_ < blocks_.size() && blocks_[current_].used + floats > blocks_[current_].size) {
    ++current_;
  }
  if (current_ == blocks_.size()) blocks_.emplace_back().size = std::max(floats, kBlockFloats);
  Block& block = blocks_[current_];
  float* memory = block.memory.get(block.size) + block.used;
  block.used += floats;
  return {memory, rows, cols};
}

Matrix Activations::copy(Matrix x) {
  const Matrix to = matrix(x.rows, x.cols);
  copy_rows(x, to);
  return to;
}

int64_t Activations::bytes() const {
  int64_t floats = 0;
  for (const Block& block : blocks_) floats += block.used;
  return floats * static_cast<int64_t>(sizeof(float));
}

}  // namespace dsv3::model
