#include "quantization/imatrix_collector.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/thread_pool.h"
#include "model/gguf_names.h"

namespace dsv3::quantization {
namespace {

using model::LatentUpInput;

// Channels that one task sums up.
constexpr int64_t kTileChannels = 256;

// sums[c] += x[t, c]^2 over the rows of x, in their order.
void add_squares(Matrix x, std::span<const int32_t> rows, double* sums) {
  const int64_t n = rows.empty() ? x.rows : static_cast<int64_t>(rows.size());
  const int64_t tiles = (x.cols + kTileChannels - 1) / kTileChannels;
  thread_pool().parallel_for(tiles, [&](int64_t tile) {
    const int64_t begin = tile * kTileChannels, end = std::min(x.cols, begin + kTileChannels);
    for (int64_t t = 0; t < n; ++t) {
      const float* row = x.row(rows.empty() ? t : rows[static_cast<size_t>(t)]);
      for (int64_t c = begin; c < end; ++c) sums[c] += double{row[c]} * double{row[c]};
    }
  });
}

void require_finite(const std::string& name, std::span<const double> sums) {
  for (size_t i = 0; i < sums.size(); ++i) {
    if (std::isfinite(sums[i])) continue;
    fail(
        "input channel {} of '{}' is not finite: there is a NaN, an infinity or an overflow in the "
        "weights (`dsv3 verify MODEL` names the tensor)",
        i, name);
  }
}

}  // namespace

ImportanceCollector::ImportanceCollector(const model::LoadedModel& model, CollectOptions options)
    : config_(model.config),
      weights_(model.weights),
      options_(model.options),
      output_(options.output) {
  for (const model::TensorSlot& slot :
       model::enumerate_tensors(config_, model.head, !weights_.mtp.empty(), weights_)) {
    add_slot(slot);
  }
  if (output_ && config_.tie_word_embeddings) {
    places_[&weights_.lm_head] = add_tensor("token_embd.weight", config_.hidden_size, 1, 1);
  }
  observer_.linear_input = [this](const ops::LinearWeight& w, Matrix x,
                                  std::span<const int32_t> rows) {
    record(places_.at(&w), x, rows);
  };
  observer_.latent_up_input = [this](const ops::LatentUpProjection& w, LatentUpInput which,
                                     Matrix x) {
    const LatentUpPlaces& places = latent_up_places_.at(&w);
    const int64_t nope = config_.qk_nope_head_dim, rank = config_.kv_lora_rank;
    switch (which) {
      case LatentUpInput::kLatents:
        return record(places.whole, x, {});
      case LatentUpInput::kQueries:
        return record_heads(places.k_b, x, config_.qk_head_dim(), nope);
      case LatentUpInput::kWeightedLatents:
        return record_heads(places.v_b, x, rank, rank);
    }
  };
}

ImportanceCollector::Place ImportanceCollector::add_tensor(const std::string& name, int64_t in,
                                                           int64_t matrices, int64_t counts) {
  const auto [at, is_new] = matrix_.tensors.try_emplace(name);
  if (is_new) {
    at->second.sums.resize(static_cast<size_t>(matrices * in));
    at->second.counts.resize(static_cast<size_t>(counts));
  }
  return {&at->first, &at->second, 0};
}

void ImportanceCollector::add_slot(const model::TensorSlot& slot) {
  if (slot.linear == nullptr || slot.linear == &weights_.embed_tokens) return;
  const auto gguf = model::gguf_name(slot.name);
  if (!gguf) return;
  const bool is_head =
      slot.linear == &weights_.lm_head || slot.name.ends_with(".shared_head.head.weight");
  if (slot.name.ends_with(".embed_tokens.weight") || (is_head && !output_)) return;
  const int64_t heads = config_.num_attention_heads, rank = config_.kv_lora_rank;
  if (slot.kv_up != nullptr) {
    const model::GgufKvHalves halves = model::gguf_kv_halves(gguf->name);
    latent_up_places_[slot.kv_up] = {add_tensor(gguf->name, rank, 1, 1),
                                     add_tensor(halves.k_b, config_.qk_nope_head_dim, heads, 1),
                                     add_tensor(halves.v_b, rank, heads, 1)};
    return;
  }
  const int64_t matrices = gguf->expert ? config_.n_routed_experts : 1;
  Place place = add_tensor(gguf->name, slot.shape[1], matrices, matrices);
  place.matrix = gguf->expert.value_or(0);
  places_[slot.linear] = place;
}

void ImportanceCollector::record(const Place& place, Matrix x,
                                 std::span<const int32_t> rows) const {
  double* sums = place.squares->sums.data() + place.matrix * x.cols;
  add_squares(x, rows, sums);
  require_finite(*place.name, {sums, static_cast<size_t>(x.cols)});
  place.squares->counts[static_cast<size_t>(place.matrix)] +=
      rows.empty() ? x.rows : static_cast<int64_t>(rows.size());
}

void ImportanceCollector::record_heads(const Place& place, Matrix x, int64_t head_stride,
                                       int64_t in) const {
  double* sums = place.squares->sums.data();
  thread_pool().parallel_for(config_.num_attention_heads, [&](int64_t h) {
    add_squares(x.columns(h * head_stride, in), {}, sums + h * in);
  });
  require_finite(*place.name, place.squares->sums);
  place.squares->counts[0] += x.rows;
}

void ImportanceCollector::run(std::span<const std::span<const int64_t>> sequences,
                              const LayerProgress& progress) {
  observer_.layer_input = [&](int64_t layer, Matrix) {
    if (progress) progress(layer);
  };
  std::vector<model::LatentCache> caches;
  caches.reserve(sequences.size());
  std::vector<model::BatchSequence> batch;
  std::vector<int64_t> ids, positions;
  for (const std::span<const int64_t> tokens : sequences) {
    // Nobody continues these sequences: one layer's cache is enough.
    caches.emplace_back(1, model::latent_layout(config_, DType::kF32));
    batch.push_back({&caches.back(), static_cast<int64_t>(tokens.size())});
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] < 0 || tokens[i] >= config_.vocab_size) {
        fail("token id {} is outside the vocabulary: expected 0 to {}", tokens[i],
             config_.vocab_size - 1);
      }
      ids.push_back(tokens[i]);
      positions.push_back(static_cast<int64_t>(i));
    }
  }
  const auto n = static_cast<int64_t>(ids.size());
  std::vector<float> memory(static_cast<size_t>(2 * n * config_.hidden_size));
  const Matrix x(memory.data(), n, config_.hidden_size);
  const Matrix hidden(x.row(n), n, config_.hidden_size);
  model::embed_tokens(weights_, ids, x);
  model::forward(config_, weights_, options_,
                 {.sequences = batch, .positions = positions, .embeddings = x}, hidden, observer_);
  observer_.layer_input = {};
  if (output_) record(places_.at(&weights_.lm_head), hidden, {});
  if (!weights_.mtp.empty()) run_mtp(sequences, hidden);
}

// A module's row i goes with the hidden state of token i and the embedding of the token `ahead`
// tokens later; the last tokens have none.
void ImportanceCollector::run_mtp(std::span<const std::span<const int64_t>> sequences,
                                  Matrix hidden) {
  const int64_t width = config_.hidden_size;
  std::vector<float> previous(hidden.data, hidden.data + hidden.rows * width);
  std::vector<int64_t> lengths;
  for (const auto& tokens : sequences) lengths.push_back(static_cast<int64_t>(tokens.size()));
  for (size_t m = 0; m < weights_.mtp.size(); ++m) {
    std::vector<model::LatentCache> caches;
    caches.reserve(sequences.size());
    std::vector<model::BatchSequence> batch;
    std::vector<int64_t> next_ids, positions;
    std::vector<float> kept;
    const float* from = previous.data();
    for (size_t s = 0; s < sequences.size(); ++s) {
      const int64_t rows = std::max<int64_t>(lengths[s] - 1, 0);
      kept.insert(kept.end(), from, from + rows * width);
      from += lengths[s] * width;
      lengths[s] = rows;
      if (rows == 0) continue;
      caches.emplace_back(1, model::latent_layout(config_, DType::kF32));
      batch.push_back({&caches.back(), rows});
      for (int64_t i = 0; i < rows; ++i) {
        next_ids.push_back(sequences[s][static_cast<size_t>(i) + m + 1]);
        positions.push_back(i);
      }
    }
    if (batch.empty()) return;
    const auto n = static_cast<int64_t>(next_ids.size());
    const model::MtpWeights& module = weights_.mtp[m];
    std::vector<float> embeddings(static_cast<size_t>(n * width));
    previous.resize(static_cast<size_t>(n * width));
    const Matrix x(embeddings.data(), n, width), out(previous.data(), n, width);
    model::ModelWeights table;
    table.embed_tokens = module.embed_tokens;
    model::embed_tokens(table, next_ids, x);
    model::forward_mtp(config_, module, static_cast<int64_t>(m), options_,
                       {.sequences = batch, .positions = positions, .embeddings = x},
                       Matrix(kept.data(), n, width), out, observer_);
    if (output_) record(places_.at(&module.shared_head), out, {});
  }
}

std::vector<std::vector<int64_t>> cut_into_chunks(std::span<const int64_t> ids, int64_t size,
                                                  std::optional<int64_t> bos) {
  std::vector<std::vector<int64_t>> chunks;
  const auto n = static_cast<int64_t>(ids.size());
  if (n == 0) return chunks;
  const int64_t length = std::min(size, n);
  for (int64_t begin = 0; begin + length <= n; begin += length) {
    chunks.emplace_back(ids.begin() + begin, ids.begin() + begin + length);
    if (bos) chunks.back()[0] = *bos;
  }
  return chunks;
}

}  // namespace dsv3::quantization
