#include "ops/mla_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/gemm/gemm.h"
#include "kernels/scratch.h"

namespace dsv3::ops {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Keys are taken in splits of this many, each with an online softmax of its own; splits are then
// merged in order. A decode step with a long context is spread over the threads by splits.
constexpr int64_t kSplitTokens = 8 * kPageTokens;
// Rows of queries that go over a tile of keys together.
constexpr int64_t kRowBlock = 32;

kernels::WeightView page_view(const MlaShape& shape, const MlaSequence& s, int64_t page,
                              int64_t n) {
  const int64_t width = shape.cache_width();
  return {.format = s.dtype == DType::kF32 ? DType::kF32 : DType::kBF16,
          .data = s.pages[page],
          .rows = n,
          .cols = width,
          .row_stride = width};
}

// Scales the scores [n] of one query against the keys from `first_key` on, and masks those it does
// not see.
void scale_and_mask(const MlaShape& shape, const MlaSequence& s, int64_t query, int64_t first_key,
                    int64_t n, float* scores) {
  const int64_t seen = s.n_keys - s.n_queries + query + 1 - first_key;
  for (int64_t j = 0; j < n; ++j) scores[j] *= shape.softmax_scale;
  if (seen < n) std::fill(scores + std::max<int64_t>(seen, 0), scores + n, kMinusInfinity);
  if (s.visible == nullptr) return;
  for (int64_t j = 0; j < n; ++j) {
    if (s.visible[first_key + j] == 0) scores[j] = kMinusInfinity;
  }
}

// Running softmax of some rows: maximum, sum and weighted sum of values, [rows], [rows], [rows,
// width].
struct Running {
  float* maximum;
  float* sum;
  float* values;
  int64_t width;

  static int64_t floats(int64_t rows, int64_t width) { return rows * (width + 2); }
  Running(float* memory, int64_t rows, int64_t w)
      : maximum(memory), sum(memory + rows), values(memory + 2 * rows), width(w) {}

  void clear(int64_t rows) const {
    std::fill_n(maximum, rows, kMinusInfinity);
    std::fill_n(sum, rows, 0.0f);
    std::fill_n(values, rows * width, 0.0f);
  }
  // Adds row r of `other`, as if its keys came after those seen so far.
  void merge(int64_t r, const Running& other, int64_t other_row) const {
    const float theirs = other.maximum[other_row];
    if (theirs == kMinusInfinity) return;
    const float m = std::max(maximum[r], theirs);
    const float mine_factor = std::exp(maximum[r] - m), their_factor = std::exp(theirs - m);
    maximum[r] = m;
    sum[r] = sum[r] * mine_factor + other.sum[other_row] * their_factor;
    kernels::scale(mine_factor, width, values + r * width);
    kernels::axpy(their_factor, other.values + other_row * width, width, values + r * width);
  }
  // The attention output of row r; a row that saw no key gives zeros.
  void finish(int64_t r) const {
    kernels::scale(sum[r] == 0 ? 0.0f : 1.0f / sum[r], width, values + r * width);
  }
};

// Softmax of the scores [rows, n] (rows kPageTokens apart) and the weighted sum of `values` [n,
// width] on top of what `running` holds from row `first` on.
void accumulate_tile(const Running& running, int64_t first, int64_t rows, float* scores, int64_t n,
                     const kernels::WeightView& values) {
  for (int64_t r = 0; r < rows; ++r) {
    const float correction = kernels::softmax_tile(
        scores + r * kPageTokens, n, running.maximum + first + r, running.sum + first + r);
    if (correction != 1.0f)
      kernels::scale(correction, running.width, running.values + (first + r) * running.width);
  }
  kernels::gemm_nn(rows, {scores, kPageTokens}, values, running.values + first * running.width,
                   running.width, true);
}

// Turns recorded scores of a query and head into softmax weights.
void finish_attentions(float* scores, int64_t n, float maximum, float sum) {
  for (int64_t j = 0; j < n; ++j) scores[j] = sum == 0 ? 0.0f : std::exp(scores[j] - maximum) / sum;
}

// The weights of one head.
class HeadUpProjection {
 public:
  HeadUpProjection(const MlaShape& shape, const LatentUpProjection& up, int64_t head)
      : nope_(shape.qk_nope_head_dim), split_(up.is_split()) {
    const int64_t rank = shape.kv_lora_rank, v_dim = shape.v_head_dim;
    if (split_) {
      w_uk_ = up.k_b_proj.view().slice_rows(head * rank, (head + 1) * rank);
      w_uv_ = up.v_b_proj.view().slice_rows(head * v_dim, (head + 1) * v_dim);
    } else {
      const int64_t begin = head * shape.kv_head_rows();
      both_ = up.kv_b_proj.view().slice_rows(begin, begin + shape.kv_head_rows());
      w_uk_ = both_.slice_rows(0, nope_);
      w_uv_ = both_.slice_rows(nope_, shape.kv_head_rows());
    }
  }

  // Queries [m, qk_nope_head_dim] taken into the latent space: out [m, kv_lora_rank].
  void absorb(int64_t m, const kernels::ActivationRows& q_nope, float* out, int64_t ldc) const {
    if (split_) {
      kernels::gemm_nt(m, q_nope, w_uk_, out, ldc);
    } else {
      kernels::gemm_nn(m, q_nope, w_uk_, out, ldc, false);
    }
  }
  // Weighted sums of latents [m, kv_lora_rank] to values: out [m, v_head_dim].
  void values(int64_t m, const kernels::ActivationRows& latents, float* out, int64_t ldc) const {
    kernels::gemm_nt(m, latents, w_uv_, out, ldc);
  }
  // Latents [m, kv_lora_rank] to k_nope and v beside each other: out [m, kv_head_rows].
  void expand(int64_t m, const kernels::ActivationRows& latents, float* out, int64_t ldc) const {
    if (split_) {
      kernels::gemm_nn(m, latents, w_uk_, out, ldc, false);
      kernels::gemm_nt(m, latents, w_uv_, out + nope_, ldc);
    } else {
      kernels::gemm_nt(m, latents, both_, out, ldc);
    }
  }

 private:
  int64_t nope_;
  bool split_;
  kernels::WeightView w_uk_, w_uv_, both_;
};

// ---- absorbed ----

// Rows [begin, end) of one sequence's (query, head) pairs, query-major.
struct RowBlock {
  const MlaSequence* sequence;
  int64_t begin, end;
};

// Runs the keys of one split against a row block. latent_q: rows of cache_width for all (token,
// head) of the batch.
void absorbed_split(const MlaShape& shape, const RowBlock& block, const float* latent_q,
                    int64_t first_key, int64_t end_key, const Running& running) {
  static thread_local kernels::Scratch scratch;
  const MlaSequence& s = *block.sequence;
  const int64_t heads = shape.num_heads, width = shape.cache_width(),
                rows = block.end - block.begin;
  float* scores = scratch.get(rows * kPageTokens);
  const float* q = latent_q + (s.first_row * heads + block.begin) * width;
  for (int64_t key = first_key; key < end_key; key += kPageTokens) {
    const int64_t n = std::min(kPageTokens, end_key - key);
    const kernels::WeightView page = page_view(shape, s, key / kPageTokens, n);
    kernels::gemm_nt(rows, {q, width}, page, scores, kPageTokens);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t query = (block.begin + r) / heads, head = (block.begin + r) % heads;
      scale_and_mask(shape, s, query, key, n, scores + r * kPageTokens);
      if (s.attentions != nullptr) {
        std::copy_n(scores + r * kPageTokens, n,
                    s.attentions + (head * s.n_queries + query) * s.n_keys + key);
      }
    }
    accumulate_tile(running, 0, rows, scores, n, page.slice_cols(0, shape.kv_lora_rank));
  }
}

void absorbed_block(const MlaShape& shape, const RowBlock& block, const float* latent_q,
                    float* latent_out) {
  static thread_local kernels::Scratch scratch;
  const MlaSequence& s = *block.sequence;
  const int64_t heads = shape.num_heads, rows = block.end - block.begin, rank = shape.kv_lora_rank;
  float* memory = scratch.get(2 * Running::floats(rows, rank));
  const Running total(memory, rows, rank), part(memory + Running::floats(rows, rank), rows, rank);
  total.clear(rows);
  // The last query of the block sees most.
  const int64_t end_key = s.n_keys - s.n_queries + (block.end - 1) / heads + 1;
  for (int64_t key = 0; key < end_key; key += kSplitTokens) {
    part.clear(rows);
    absorbed_split(shape, block, latent_q, key, std::min(end_key, key + kSplitTokens), part);
    for (int64_t r = 0; r < rows; ++r) total.merge(r, part, r);
  }
  for (int64_t r = 0; r < rows; ++r) {
    if (s.attentions != nullptr) {
      const int64_t query = (block.begin + r) / heads, head = (block.begin + r) % heads;
      float* row = s.attentions + (head * s.n_queries + query) * s.n_keys;
      finish_attentions(row, end_key, total.maximum[r], total.sum[r]);
      std::fill(row + end_key, row + s.n_keys, 0.0f);
    }
    total.finish(r);
    std::copy_n(total.values + r * rank, rank,
                latent_out + (s.first_row * heads + block.begin + r) * rank);
  }
}

// The same with the splits spread over the threads: for few queries and many keys.
void absorbed_block_by_splits(const MlaShape& shape, const RowBlock& block, const float* latent_q,
                              float* latent_out) {
  static thread_local kernels::Scratch scratch;
  const MlaSequence& s = *block.sequence;
  const int64_t heads = shape.num_heads, rows = block.end - block.begin, rank = shape.kv_lora_rank;
  const int64_t end_key = s.n_keys - s.n_queries + (block.end - 1) / heads + 1;
  const int64_t splits = (end_key + kSplitTokens - 1) / kSplitTokens,
                part_floats = Running::floats(rows, rank);
  float* memory = scratch.get((splits + 1) * part_floats);
  thread_pool().parallel_for(splits, [&](int64_t i) {
    const Running part(memory + (i + 1) * part_floats, rows, rank);
    part.clear(rows);
    absorbed_split(shape, block, latent_q, i * kSplitTokens,
                   std::min(end_key, (i + 1) * kSplitTokens), part);
  });
  const Running total(memory, rows, rank);
  total.clear(rows);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < splits; ++i)
      total.merge(r, Running(memory + (i + 1) * part_floats, rows, rank), r);
    total.finish(r);
    std::copy_n(total.values + r * rank, rank,
                latent_out + (s.first_row * heads + block.begin + r) * rank);
  }
}

// The weighted latents go to `weighted_latents` if it has memory.
void absorbed_attention(const MlaShape& shape, Matrix q, const LatentUpProjection& up,
                        std::span<const MlaSequence> sequences, Matrix out,
                        Matrix weighted_latents) {
  static thread_local kernels::Scratch scratch;
  const int64_t heads = shape.num_heads, width = shape.cache_width(), rank = shape.kv_lora_rank;
  float* latent_q = scratch.get(q.rows * heads * (width + rank));
  float* latent_out =
      weighted_latents.data != nullptr ? weighted_latents.data : latent_q + q.rows * heads * width;

  // Neighbouring sequences share a pass over kv_b_proj.
  std::vector<std::pair<int64_t, int64_t>> row_ranges;
  for (const MlaSequence& s : sequences) {
    if (!row_ranges.empty() && row_ranges.back().second == s.first_row) {
      row_ranges.back().second += s.n_queries;
    } else {
      row_ranges.emplace_back(s.first_row, s.first_row + s.n_queries);
    }
  }

  // q_nope W_UK beside the rotated part: a query that is compared with cached rows as they are.
  thread_pool().parallel_for(heads, [&](int64_t h) {
    const HeadUpProjection head(shape, up, h);
    for (const auto& [begin, end] : row_ranges) {
      const float* head_q = q.row(begin) + h * shape.qk_head_dim();
      float* to = latent_q + (begin * heads + h) * width;
      head.absorb(end - begin, {head_q, q.stride}, to, heads * width);
      for (int64_t i = 0; i < end - begin; ++i) {
        std::copy_n(head_q + i * q.stride + shape.qk_nope_head_dim, shape.qk_rope_head_dim,
                    to + i * heads * width + rank);
      }
    }
  });

  std::vector<RowBlock> blocks;
  for (const MlaSequence& s : sequences) {
    for (int64_t r = 0; r < s.n_queries * heads; r += kRowBlock) {
      blocks.push_back({&s, r, std::min(s.n_queries * heads, r + kRowBlock)});
    }
  }
  const bool recording = std::any_of(sequences.begin(), sequences.end(),
                                     [](const MlaSequence& s) { return s.attentions != nullptr; });
  if (static_cast<int64_t>(blocks.size()) < 2 * thread_pool().size() && !recording) {
    for (const RowBlock& block : blocks)
      absorbed_block_by_splits(shape, block, latent_q, latent_out);
  } else {
    // The blocks with the most keys come last in a prompt, so they are started first.
    const auto n = static_cast<int64_t>(blocks.size());
    thread_pool().parallel_for(
        n, [&](int64_t i) { absorbed_block(shape, blocks[n - 1 - i], latent_q, latent_out); });
  }

  thread_pool().parallel_for(heads, [&](int64_t h) {
    const HeadUpProjection head(shape, up, h);
    for (const auto& [begin, end] : row_ranges) {
      head.values(end - begin, {latent_out + (begin * heads + h) * rank, heads * rank},
                  out.row(begin) + h * shape.v_head_dim, out.stride);
    }
  });
}

}  // namespace

void mla_attention_absorbed(const MlaShape& shape, Matrix q, const LatentUpProjection& up,
                            std::span<const MlaSequence> sequences, Matrix out) {
  absorbed_attention(shape, q, up, sequences, out, {});
}

// ---- expanded ----

namespace {

// One head of one sequence: its keys and values are formed from kSplitTokens latents at a time, in
// memory that stays in the cache of the core, and go over all queries.
void expanded_head(const MlaShape& shape, Matrix q, const LatentUpProjection& up,
                   const MlaSequence& s, int64_t h, Matrix out) {
  static thread_local kernels::Scratch scratch;
  const int64_t kv_rows = shape.kv_head_rows(), rank = shape.kv_lora_rank, v_dim = shape.v_head_dim;
  const HeadUpProjection head(shape, up, h);
  const int64_t running_floats = Running::floats(s.n_queries, v_dim);
  float* memory = scratch.get(running_floats + kPageTokens * rank + kSplitTokens * kv_rows +
                              2 * kRowBlock * kPageTokens);
  const Running running(memory, s.n_queries, v_dim);
  float* latents = memory + running_floats;
  float* kv = latents + kPageTokens * rank;
  float* scores = kv + kSplitTokens * kv_rows;
  float* rope_scores = scores + kRowBlock * kPageTokens;
  running.clear(s.n_queries);
  const int64_t past = s.n_keys - s.n_queries;

  for (int64_t split = 0; split < s.n_keys; split += kSplitTokens) {
    const int64_t split_end = std::min(s.n_keys, split + kSplitTokens);
    for (int64_t key = split; key < split_end; key += kPageTokens) {
      const int64_t n = std::min(kPageTokens, split_end - key);
      const kernels::WeightView c_kv =
          page_view(shape, s, key / kPageTokens, n).slice_cols(0, rank);
      kernels::decode(c_kv, latents, rank);
      head.expand(n, {latents, rank}, kv + (key - split) * kv_rows, kv_rows);
    }
    for (int64_t query = 0; query < s.n_queries; query += kRowBlock) {
      const int64_t rows = std::min(kRowBlock, s.n_queries - query);
      const int64_t end = std::min(split_end, past + query + rows);
      for (int64_t key = split; key < end; key += kPageTokens) {
        const int64_t n = std::min(kPageTokens, end - key);
        const float* tile = kv + (key - split) * kv_rows;
        const float* head_q = q.row(s.first_row + query) + h * shape.qk_head_dim();
        kernels::gemm_nt(rows, {head_q, q.stride},
                         kernels::f32_view(tile, n, shape.qk_nope_head_dim, kv_rows), scores,
                         kPageTokens);
        kernels::gemm_nt(
            rows, {head_q + shape.qk_nope_head_dim, q.stride},
            page_view(shape, s, key / kPageTokens, n).slice_cols(rank, shape.qk_rope_head_dim),
            rope_scores, kPageTokens);
        for (int64_t r = 0; r < rows; ++r) {
          float* row = scores + r * kPageTokens;
          kernels::add(rope_scores + r * kPageTokens, n, row);
          scale_and_mask(shape, s, query + r, key, n, row);
          if (s.attentions != nullptr) {
            std::copy_n(row, n, s.attentions + (h * s.n_queries + query + r) * s.n_keys + key);
          }
        }
        accumulate_tile(running, query, rows, scores, n,
                        kernels::f32_view(tile + shape.qk_nope_head_dim, n, v_dim, kv_rows));
      }
    }
  }
  for (int64_t i = 0; i < s.n_queries; ++i) {
    if (s.attentions != nullptr) {
      // What lies beyond the last tile that a query's block went over was never written.
      float* row = s.attentions + (h * s.n_queries + i) * s.n_keys;
      finish_attentions(row, past + i + 1, running.maximum[i], running.sum[i]);
      std::fill(row + past + i + 1, row + s.n_keys, 0.0f);
    }
    running.finish(i);
    std::copy_n(running.values + i * v_dim, v_dim, out.row(s.first_row + i) + h * v_dim);
  }
}

}  // namespace

void mla_attention_expanded(const MlaShape& shape, Matrix q, const LatentUpProjection& up,
                            std::span<const MlaSequence> sequences, Matrix out) {
  const int64_t heads = shape.num_heads;
  thread_pool().parallel_for(static_cast<int64_t>(sequences.size()) * heads, [&](int64_t i) {
    expanded_head(shape, q, up, sequences[i / heads], i % heads, out);
  });
}

bool absorbed_is_cheaper(const MlaShape& shape, int64_t n_queries, int64_t n_keys) {
  // Multiplications a head. Under the causal mask a query sees about n_keys - n_queries / 2 keys.
  const double pairs =
      static_cast<double>(n_queries) * (static_cast<double>(n_keys) - n_queries / 2.0);
  const double absorbed =
      pairs * static_cast<double>(shape.cache_width() + shape.kv_lora_rank) +
      static_cast<double>(n_queries * shape.kv_lora_rank * shape.kv_head_rows());
  const double expanded = pairs * static_cast<double>(shape.qk_head_dim() + shape.v_head_dim) +
                          static_cast<double>(n_keys * shape.kv_lora_rank * shape.kv_head_rows());
  return absorbed <= expanded;
}

void mla_attention(const MlaShape& shape, MlaForm form, Matrix q, const LatentUpProjection& up,
                   std::span<const MlaSequence> sequences, Matrix out, Matrix weighted_latents) {
  const bool wanted = weighted_latents.data != nullptr;
  std::vector<MlaSequence> absorbed, expanded;
  for (const MlaSequence& s : sequences) {
    const bool absorb =
        wanted || form == MlaForm::kAbsorbed ||
        (form == MlaForm::kAuto && absorbed_is_cheaper(shape, s.n_queries, s.n_keys));
    (absorb ? absorbed : expanded).push_back(s);
  }
  if (!absorbed.empty()) absorbed_attention(shape, q, up, absorbed, out, weighted_latents);
  if (!expanded.empty()) mla_attention_expanded(shape, q, up, expanded, out);
}

}  // namespace dsv3::ops
