#include "model/padded_batch.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <exception>

#include "base/error.h"

namespace dsv3::model {
namespace {

// One sequence of the ragged batch: a row of the padded batch, or one of the packed sequences in
// it.
struct Piece {
  int64_t row = 0;
  std::vector<int64_t> query_columns;  // of this call
  std::vector<int64_t> key_columns;    // of past and this call, one for each cached token
  std::vector<uint8_t> visible;        // for each key; empty: all
  LatentCache* cache = nullptr;
};

struct Packing {
  int64_t batch = 0, columns = 0, past = 0;
  std::vector<Piece> pieces;
  std::deque<LatentCache> temporary;  // caches of sequences that nobody keeps
  std::vector<int64_t> positions;     // [tokens]
  std::vector<int64_t> slots;         // [tokens]: row * columns + column
};

void expect_int64(const Tensor& t, const char* name) {
  if (t.dtype() != DType::kI64) fail("{}: expected I64, found {}", name, dtype_name(t.dtype()));
}

void read_shape(const DeepseekV3Config& config, const ForwardArgs& args, Packing& p) {
  if (args.input_ids.defined() == args.inputs_embeds.defined()) {
    fail("expected exactly one of input_ids and inputs_embeds, found {}",
         args.input_ids.defined() ? "both" : "neither");
  }
  if (args.input_ids.defined()) {
    expect_int64(args.input_ids, "input_ids");
    if (args.input_ids.rank() != 2) {
      fail("input_ids: expected [batch, sequence], found {}", shape_string(args.input_ids.shape()));
    }
    p.batch = args.input_ids.dim(0), p.columns = args.input_ids.dim(1);
  } else {
    const Tensor& e = args.inputs_embeds;
    if (e.dtype() != DType::kF32 || e.rank() != 3 || e.dim(2) != config.hidden_size) {
      fail("inputs_embeds: expected F32 [batch, sequence, {}], found {} {}", config.hidden_size,
           dtype_name(e.dtype()), shape_string(e.shape()));
    }
    p.batch = e.dim(0), p.columns = e.dim(1);
  }
  if (p.batch < 1 || p.columns < 1) {
    fail("expected at least one sequence of one token, found a batch of {} by {}", p.batch,
         p.columns);
  }
}

// Value [row, column] of an optional [batch or 1, columns] tensor.
int64_t broadcast_at(const Tensor& t, int64_t row, int64_t column) {
  return t.as<int64_t>()[(t.dim(0) == 1 ? 0 : row) * t.dim(1) + column];
}

void check_optional_shapes(const ForwardArgs& args, const Packing& p) {
  if (args.attention_mask.defined()) {
    expect_int64(args.attention_mask, "attention_mask");
    const Shape expected = {p.batch, p.past + p.columns};
    if (args.attention_mask.shape() != expected) {
      fail("attention_mask: expected {} (batch, {} past + {} new columns), found {}",
           shape_string(expected), p.past, p.columns, shape_string(args.attention_mask.shape()));
    }
  }
  if (args.position_ids.defined()) {
    expect_int64(args.position_ids, "position_ids");
    const Shape& s = args.position_ids.shape();
    if (s.size() != 2 || (s[0] != p.batch && s[0] != 1) || s[1] != p.columns) {
      fail("position_ids: expected [{}, {}], found {}", p.batch, p.columns, shape_string(s));
    }
    for (const int64_t position : args.position_ids.as<int64_t>()) {
      if (position < 0) fail("position_ids: expected positions from 0 on, found {}", position);
    }
  }
}

// The keys that a row has from earlier calls. A token may be masked out later; padding was never
// stored.
void add_past(const Cache::Impl& cache, const Tensor& mask, int64_t row, Piece& piece) {
  const auto& columns = cache.columns[row];
  for (size_t c = 0; c < columns.size(); ++c) {
    const bool wanted = !mask.defined() || broadcast_at(mask, row, static_cast<int64_t>(c)) != 0;
    if (columns[c] == 0) {
      if (wanted && mask.defined()) {
        fail(
            "attention_mask[{}, {}] is 1, but the column was padding in an earlier call and is not "
            "in the cache",
            row, c);
      }
      continue;
    }
    piece.key_columns.push_back(static_cast<int64_t>(c));
    piece.visible.push_back(wanted ? 1 : 0);
  }
}

// Consecutive positions that do not grow by exactly one begin a new packed sequence (transformers'
// find_packed_sequence_indices), if there is neither a mask nor a cache.
bool begins_packed_sequence(const ForwardArgs& args, int64_t row, int64_t column) {
  return column > 0 && broadcast_at(args.position_ids, row, column) !=
                           broadcast_at(args.position_ids, row, column - 1) + 1;
}

Packing pack(const DeepseekV3Config& config, const ForwardArgs& args, Cache* cache) {
  Packing p;
  read_shape(config, args, p);
  p.past = cache != nullptr ? cache->get_seq_length() : 0;
  check_optional_shapes(args, p);
  if (cache != nullptr) cache->impl().set_batch_size(p.batch);
  const bool may_be_packed =
      args.position_ids.defined() && !args.attention_mask.defined() && cache == nullptr;

  for (int64_t b = 0; b < p.batch; ++b) {
    Piece piece;
    const auto close = [&] {
      if (!piece.query_columns.empty()) {
        if (std::find(piece.visible.begin(), piece.visible.end(), 0) == piece.visible.end())
          piece.visible.clear();
        if (cache != nullptr) {
          piece.cache = &cache->impl().rows[b];
        } else {
          piece.cache = &p.temporary.emplace_back(1, latent_layout(config, DType::kF32));
        }
        p.pieces.push_back(std::move(piece));
      }
      piece = Piece();
      piece.row = b;
    };
    close();
    if (cache != nullptr) add_past(cache->impl(), args.attention_mask, b, piece);
    for (int64_t s = 0; s < p.columns; ++s) {
      if (args.attention_mask.defined() && broadcast_at(args.attention_mask, b, p.past + s) == 0)
        continue;
      if (may_be_packed && begins_packed_sequence(args, b, s)) close();
      piece.query_columns.push_back(s);
      piece.key_columns.push_back(p.past + s);
      piece.visible.push_back(1);
      p.slots.push_back(b * p.columns + s);
      p.positions.push_back(args.position_ids.defined() ? broadcast_at(args.position_ids, b, s)
                                                        : p.past + s);
    }
    close();
  }
  return p;
}

void fill_embeddings(const LoadedModel& model, const ForwardArgs& args, const Packing& p,
                     Matrix out) {
  if (args.inputs_embeds.defined()) {
    const float* in = args.inputs_embeds.as<float>().data();
    for (int64_t t = 0; t < out.rows; ++t)
      std::copy_n(in + p.slots[t] * out.cols, out.cols, out.row(t));
    return;
  }
  std::vector<int64_t> ids(p.slots.size());
  for (size_t t = 0; t < ids.size(); ++t) {
    ids[t] = args.input_ids.as<int64_t>()[p.slots[t]];
    require_token(ids[t], p.slots[t] / p.columns, p.slots[t] % p.columns, model.config.vocab_size);
  }
  embed_tokens(model.weights, ids, out);
}

// Rows of a ragged matrix to their places in [batch, columns, cols].
Tensor scatter(const Packing& p, Matrix rows) {
  Tensor out(DType::kF32, {p.batch, p.columns, rows.cols});
  float* data = out.as_mutable<float>().data();
  for (int64_t t = 0; t < rows.rows; ++t)
    std::copy_n(rows.row(t), rows.cols, data + p.slots[t] * rows.cols);
  return out;
}

// Collects [heads, queries, keys] of each piece, and spreads it to [batch, heads, columns, past +
// columns]. All pieces of a layer run together, so a layer is complete when the next one begins.
class AttentionRecorder {
 public:
  AttentionRecorder(const Packing& p, int64_t layers, int64_t heads)
      : p_(p), heads_(heads), buffers_(p.pieces.size()) {
    for (int64_t l = 0; l < layers; ++l) {
      tensors_.emplace_back(DType::kF32, Shape{p.batch, heads, p.columns, p.past + p.columns});
    }
  }
  float* buffer(int64_t layer, int64_t piece) {
    if (layer != layer_) spread();
    layer_ = layer;
    const Piece& s = p_.pieces[piece];
    buffers_[piece].resize(heads_ * s.query_columns.size() * s.key_columns.size());
    return buffers_[piece].data();
  }
  std::vector<Tensor> take() {
    spread();
    return std::move(tensors_);
  }

 private:
  void spread() {
    if (layer_ < 0) return;
    float* out = tensors_[layer_].as_mutable<float>().data();
    for (size_t i = 0; i < p_.pieces.size(); ++i) {
      const Piece& s = p_.pieces[i];
      const float* in = buffers_[i].data();
      for (int64_t h = 0; h < heads_; ++h) {
        for (const int64_t query : s.query_columns) {
          float* row = out + ((s.row * heads_ + h) * p_.columns + query) * (p_.past + p_.columns);
          for (const int64_t key : s.key_columns) row[key] = *in++;
        }
      }
    }
  }
  const Packing& p_;
  int64_t heads_, layer_ = -1;
  std::vector<std::vector<float>> buffers_;
  std::vector<Tensor> tensors_;
};

}  // namespace

CacheRollback::CacheRollback(std::shared_ptr<Cache> cache)
    : cache_(std::move(cache)),
      length_(cache_ ? cache_->get_seq_length() : 0),
      exceptions_(std::uncaught_exceptions()) {}

CacheRollback::~CacheRollback() {
  if (cache_ && std::uncaught_exceptions() > exceptions_) cache_->crop(length_);
}

void require_token(int64_t id, int64_t row, int64_t column, int64_t vocab_size) {
  if (id >= 0 && id < vocab_size) return;
  fail("input_ids[{}, {}] is {}, outside of the vocabulary [0, {})", row, column, id, vocab_size);
}

void require_finite(const Tensor& values, const char* what) {
  const auto v = values.as<float>();
  for (size_t i = 0; i < v.size(); ++i) {
    if (!std::isfinite(v[i])) {
      fail(
          "{} has {} at element {}: there is a NaN, an infinity or an overflow in the weights or "
          "the input "
          "(`dsv3 verify MODEL` names the tensor)",
          what, v[i], i);
    }
  }
}

TrunkOutput run_trunk(const LoadedModel& model, const ForwardArgs& args, KeptTrunk* keep) {
  const DeepseekV3Config& config = model.config;
  std::shared_ptr<Cache> cache = args.past_key_values;
  if (cache != nullptr && (cache->impl().num_layers != config.num_hidden_layers ||
                           cache->impl().layout.rank != config.kv_lora_rank ||
                           cache->impl().layout.rope != config.qk_rope_head_dim)) {
    fail(
        "past_key_values is of a model with {} layers and {} numbers a token, this one has {} and "
        "{}",
        cache->impl().num_layers, cache->impl().layout.width(), config.num_hidden_layers,
        config.kv_lora_rank + config.qk_rope_head_dim);
  }
  if (keep != nullptr) {
    if (cache != nullptr) fail("past_key_values: gradients do not go back into earlier calls");
  } else if (cache == nullptr && args.use_cache.value_or(config.use_cache)) {
    cache = Cache::dynamic(config);
  }

  const Packing p = pack(config, args, cache.get());
  const auto tokens = static_cast<int64_t>(p.slots.size());
  Tensor embeddings = Tensor::empty(DType::kF32, {tokens, config.hidden_size});
  Tensor hidden = Tensor::empty(DType::kF32, {tokens, config.hidden_size});
  const Matrix x(embeddings.as_mutable<float>().data(), tokens, config.hidden_size);
  const Matrix last(hidden.as_mutable<float>().data(), tokens, config.hidden_size);
  fill_embeddings(model, args, p, x);

  std::vector<BatchSequence> sequences;
  for (const Piece& piece : p.pieces) {
    sequences.push_back({piece.cache, static_cast<int64_t>(piece.query_columns.size()),
                         piece.visible.empty() ? nullptr : piece.visible.data()});
  }
  RaggedBatch batch{sequences, p.positions, x};
  // "dynamic" RoPE goes by the largest position of the call, padding included.
  if (args.position_ids.defined()) {
    const auto positions = args.position_ids.as<int64_t>();
    batch.rope_length = 1 + *std::max_element(positions.begin(), positions.end());
  } else {
    batch.rope_length = p.past + p.columns;
  }

  TrunkOutput out;
  ForwardObserver observer;
  if (args.output_hidden_states.value_or(config.output_hidden_states)) {
    observer.layer_input = [&](int64_t, Matrix m) { out.hidden_states.push_back(scatter(p, m)); };
  }
  std::optional<AttentionRecorder> recorder;
  if (args.output_attentions.value_or(config.output_attentions)) {
    recorder.emplace(p, config.num_hidden_layers, config.num_attention_heads);
    observer.attentions = [&](int64_t layer, int64_t piece) {
      return recorder->buffer(layer, piece);
    };
  }
  if (tokens > 0) {
    forward(config, model.weights, model.options, batch, last, observer,
            keep != nullptr ? &keep->activations : nullptr);
  } else if (observer.layer_input) {
    for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer)
      observer.layer_input(layer, x);
  }

  if (keep != nullptr) {
    keep->slots = p.slots;
    for (const Piece& piece : p.pieces)
      keep->sequences.push_back({static_cast<int64_t>(piece.query_columns.size()), piece.visible});
  }
  out.batch = p.batch;
  out.columns = p.columns;
  out.present.assign(p.batch * p.columns, 0);
  for (const int64_t slot : p.slots) out.present[slot] = 1;
  if (cache != nullptr) {
    for (int64_t b = 0; b < p.batch; ++b) {
      auto& columns = cache->impl().columns[b];
      columns.insert(columns.end(), out.present.begin() + b * p.columns,
                     out.present.begin() + (b + 1) * p.columns);
    }
  }
  out.past_key_values = cache;
  out.last_hidden_state = scatter(p, last);
  require_finite(out.last_hidden_state, "last_hidden_state");
  if (observer.layer_input) out.hidden_states.push_back(out.last_hidden_state);
  if (recorder) out.attentions = recorder->take();
  return out;
}

}  // namespace dsv3::model
