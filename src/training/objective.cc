#include "training/objective.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "kernels/elementwise/elementwise.h"
#include "ops/embedding.h"

namespace dsv3::training {

std::vector<Piece> pieces_of(std::span<const Window> windows, bool attention_across_documents) {
  std::vector<Piece> pieces;
  for (const Window& w : windows) {
    if (attention_across_documents) {
      pieces.push_back(w.tokens);
      continue;
    }
    for (size_t begin = 0; begin < w.tokens.size();) {
      size_t end = begin;
      while (end < w.tokens.size() && w.documents[end] == w.documents[begin]) ++end;
      if (end - begin > 1) pieces.emplace_back(w.tokens.begin() + begin, w.tokens.begin() + end);
      begin = end;
    }
  }
  return pieces;
}

std::vector<int64_t> predicted_tokens(std::span<const Piece> pieces, int64_t mtp_depth) {
  std::vector<int64_t> counts(mtp_depth + 1);
  for (const Piece& p : pieces) {
    for (int64_t k = 0; k <= mtp_depth; ++k)
      counts[k] += std::max<int64_t>(0, static_cast<int64_t>(p.size()) - 1 - k);
  }
  return counts;
}

// The rows of one depth: row i of a piece is at token i, takes the embedding of token i + depth and
// predicts token i + depth + 1.
struct Objective::Batch {
  std::vector<model::BatchSequence> sequences;
  std::vector<int64_t> positions, ids, labels;
  /// Rows of the depth before, of which the last of each piece is left out.
  std::vector<int64_t> previous;
  Matrix embeddings, hidden;  // in the memory of `arena`

  model::RaggedBatch ragged() const { return {sequences, positions, embeddings}; }
  int64_t rows() const { return static_cast<int64_t>(ids.size()); }
};

Objective::Objective(const DeepseekV3Config& config, DType cache_dtype, bool recompute)
    : config_(config), cache_dtype_(cache_dtype), main_(recompute) {
  for (int64_t k = 0; k < config.num_nextn_predict_layers; ++k) modules_.emplace_back(recompute);
  compute_.mla_form = ops::MlaForm::kExpanded;
  compute_.activations = ops::Activations::kFast;
}

namespace {

// Rows of x, in the memory of `arena`.
Matrix gather(Matrix x, std::span<const int64_t> rows, model::Activations& arena) {
  const Matrix to = arena.matrix(static_cast<int64_t>(rows.size()), x.cols);
  for (int64_t i = 0; i < to.rows; ++i) std::copy_n(x.row(rows[i]), x.cols, to.row(i));
  return to;
}

}  // namespace

Objective::Batch Objective::batch(const model::ModelWeights& weights, std::span<const Piece> pieces,
                                  size_t depth) {
  model::Activations& arena = activations(depth);
  arena.clear();
  Batch b;
  int64_t previous_row = 0;
  for (const Piece& piece : pieces) {
    const int64_t rows = static_cast<int64_t>(piece.size()) - 1 - static_cast<int64_t>(depth);
    if (rows + 1 > 0 && depth > 0) {  // what the depth before has of it
      for (int64_t i = 0; i < rows; ++i) b.previous.push_back(previous_row + i);
      previous_row += rows + 1;
    }
    if (rows <= 0) continue;
    if (caches_.size() == b.sequences.size()) {
      caches_.emplace_back(1, model::latent_layout(config_, cache_dtype_));
    }
    model::LatentCache& cache = caches_[b.sequences.size()];
    cache.crop(0);
    b.sequences.push_back({&cache, rows});
    for (int64_t i = 0; i < rows; ++i) {
      b.positions.push_back(i);
      b.ids.push_back(piece[i + depth]);
      b.labels.push_back(piece[i + depth + 1]);
    }
  }
  b.embeddings = arena.matrix(b.rows(), config_.hidden_size);
  b.hidden = arena.matrix(b.rows(), config_.hidden_size);
  model::embed_tokens(weights, b.ids, b.embeddings);
  return b;
}

Losses Objective::evaluate(const model::ModelWeights& weights, std::span<const Piece> pieces,
                           std::span<const double> module_weights) {
  Losses losses{std::vector<double>(modules_.size() + 1)};
  Batch before = batch(weights, pieces, 0);
  model::forward(config_, weights, compute_, before.ragged(), before.hidden);
  losses.cross_entropy[0] = model::lm_head_loss(weights.lm_head, before.hidden, before.labels);
  for (size_t k = 0; k < modules_.size() && module_weights[k] != 0; ++k) {
    Batch b = batch(weights, pieces, k + 1);
    if (b.rows() == 0) break;
    const Matrix previous = gather(before.hidden, b.previous, activations(k + 1));
    model::forward_mtp(config_, weights.mtp[k], static_cast<int64_t>(k), compute_, b.ragged(),
                       previous, b.hidden);
    losses.cross_entropy[k + 1] = model::lm_head_loss(weights.lm_head, b.hidden, b.labels);
    before = std::move(b);
  }
  return losses;
}

Losses Objective::differentiate(const model::ModelWeights& weights, std::span<const Piece> pieces,
                                const LossWeights& loss_weights, model::ModelWeights& gradients,
                                std::vector<std::vector<int64_t>>& expert_load) {
  Losses losses{std::vector<double>(modules_.size() + 1)};
  const int64_t hidden_size = config_.hidden_size;
  const auto pad = config_.pad_token_id.value_or(-1);
  std::vector<Batch> batches;  // by depth
  batches.push_back(batch(weights, pieces, 0));
  model::forward(config_, weights, compute_, batches[0].ragged(), batches[0].hidden, {}, &main_);
  for (size_t k = 0; k < modules_.size() && loss_weights.cross_entropy[k + 1] != 0; ++k) {
    Batch& b = batches.emplace_back(batch(weights, pieces, k + 1));
    if (b.rows() == 0) {
      batches.pop_back();
      break;
    }
    const Matrix previous = gather(batches[k].hidden, b.previous, activations(k + 1));
    model::forward_mtp(config_, weights.mtp[k], static_cast<int64_t>(k), compute_, b.ragged(),
                       previous, b.hidden, {}, &modules_[k]);
  }
  size_t layer = 0;
  count_load(main_, layer, expert_load);
  for (size_t k = 1; k < batches.size(); ++k) count_load(modules_[k - 1], layer, expert_load);

  // From the deepest module back to the main model; each hands on the gradient of the hidden states
  // that it took.
  Matrix from_deeper;
  for (size_t k = batches.size(); k-- > 0;) {
    const Batch& b = batches[k];
    const Matrix dx = activations(k).matrix(b.rows(), hidden_size);
    std::fill_n(dx.data, dx.rows * dx.cols, 0.0f);
    if (k + 1 < batches.size()) {
      const std::vector<int64_t>& rows = batches[k + 1].previous;
      for (size_t i = 0; i < rows.size(); ++i)
        std::copy_n(from_deeper.row(static_cast<int64_t>(i)), hidden_size, dx.row(rows[i]));
    }
    losses.cross_entropy[k] = model::lm_head_backward(
        weights.lm_head, b.hidden, b.labels, static_cast<float>(loss_weights.cross_entropy[k]), dx,
        gradients.lm_head);
    if (k == 0) {
      losses.balance += model::backward(config_, weights, b.sequences, main_, dx,
                                        loss_weights.balance_per_token, gradients);
    } else {
      const Matrix d_previous = activations(k).matrix(b.rows(), hidden_size);
      losses.balance += model::backward_mtp(
          config_, weights.mtp[k - 1], static_cast<int64_t>(k - 1), b.sequences, modules_[k - 1],
          dx, d_previous, loss_weights.balance_per_token, gradients.mtp[k - 1]);
      from_deeper = d_previous;
    }
    ops::embed_backward(b.ids, dx, pad, gradients.embed_tokens);
  }
  return losses;
}

void Objective::count_load(const model::Activations& kept, size_t& layer,
                           std::vector<std::vector<int64_t>>& expert_load) const {
  for (const model::LayerActivations& of_layer : kept.layers) {
    if (of_layer.routing.experts.empty()) continue;
    for (const int32_t e : of_layer.routing.experts) ++expert_load[layer][e];
    ++layer;
  }
}

int64_t Objective::activation_bytes() const {
  int64_t sum = main_.bytes();
  for (const model::Activations& module : modules_) sum += module.bytes();
  return sum;
}

}  // namespace dsv3::training
