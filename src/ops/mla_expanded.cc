// Expanded attention: keys and values of a head are formed from the latents, a split at a time, in
// memory that stays in the cache of the core, and go over all queries.
#include "base/thread_pool.h"
#include "kernels/amx_tiles.h"
#include "kernels/scratch.h"
#include "ops/mla_parts.h"

namespace dsv3::ops {
namespace {

using kernels::kTileKeys;

struct Head {
  const MlaShape& shape;
  const MlaSequence& sequence;
  Matrix q;  // its channels of all rows
  int64_t index;
  HeadUpProjection up;
  Running running;  // of the queries, in groups of kLanes

  int64_t past() const { return sequence.n_keys - sequence.n_queries; }
};

// Scaled scores of the queries from `query` on become softmax weights.
void softmax(const Head& head, int64_t query, int64_t key, int64_t n, float* scores) {
  const MlaSequence& s = head.sequence;
  int64_t seen[kLanes];
  kernels::TileMask mask;
  if (s.visible != nullptr) mask.visible = s.visible + key;
  if (head.past() + query + 1 - key < n) {
    for (int64_t r = 0; r < kLanes; ++r)
      seen[r] = query + r < s.n_queries ? head.past() + query + r + 1 - key : n;
    mask.seen = seen;
  }
  kernels::scale_and_mask(scores, n, head.shape.softmax_scale, mask);
  for (int64_t r = 0; s.attentions != nullptr && r < kLanes && query + r < s.n_queries; ++r) {
    float* to = s.attentions + (head.index * s.n_queries + query + r) * s.n_keys + key;
    for (int64_t j = 0; j < n; ++j) to[j] = scores[j * kLanes + r];
  }
  kernels::softmax_lanes(scores, n, head.running.maximum + query, head.running.sum + query,
                         head.running.correction + query);
}

// Calls f(query, key, n) for each `rows` queries and tile of [begin, end) that they see.
template <class F>
void for_tiles(const Head& head, int64_t rows, int64_t begin, int64_t end, F&& f) {
  const int64_t n_queries = head.sequence.n_queries;
  for (int64_t query = 0; query < n_queries; query += rows) {
    const int64_t seen = std::min(end, head.past() + std::min(n_queries, query + rows));
    for (int64_t key = begin; key < seen; key += kPageTokens)
      f(query, key, std::min(kPageTokens, seen - key));
  }
}

void attend_f32(const Head& head) {
  static thread_local kernels::Scratch scratch;
  const MlaShape& shape = head.shape;
  const MlaSequence& s = head.sequence;
  const int64_t kv_rows = shape.kv_head_rows(), rank = shape.kv_lora_rank,
                nope = shape.qk_nope_head_dim, rope = shape.qk_rope_head_dim,
                width = shape.cache_width();
  const int64_t groups = (s.n_queries + kLanes - 1) / kLanes, group_floats = (nope + rope) * kLanes;
  // The last vector of values is read whole.
  float* kv = scratch.get(kSplitTokens * (kv_rows + rope) + kTileKeys * (width + kLanes) +
                          groups * group_floats + 4 * kLanes);
  float* k_pe = kv + kSplitTokens * kv_rows + kLanes;
  float* latents = k_pe + kSplitTokens * rope;
  float* scores = kv + round_up(latents + kTileKeys * width - kv, kLanes);
  float* packed = scores + kTileKeys * kLanes;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t rows = std::min(kLanes, s.n_queries - g * kLanes);
    kernels::pack_rows_f32(head.q.row(g * kLanes), head.q.stride, 1, rows, nope + rope,
                           packed + g * group_floats);
  }
  for (int64_t split = 0; split < s.n_keys; split += kSplitTokens) {
    const int64_t split_end = std::min(s.n_keys, split + kSplitTokens);
    for (int64_t key = split; key < split_end; key += kPageTokens) {
      const int64_t n = std::min(kPageTokens, split_end - key);
      kernels::decode_latents(layout_of(shape, s.dtype), s.pages[key / kPageTokens], n, latents,
                              width);
      head.up.expand(n, {latents, width}, kv + (key - split) * kv_rows, kv_rows);
      for (int64_t j = 0; j < n; ++j)
        std::copy_n(latents + j * width + rank, rope, k_pe + (key - split + j) * rope);
    }
    for_tiles(head, kLanes, split, split_end, [&](int64_t query, int64_t key, int64_t n) {
      const float* q = packed + query / kLanes * group_floats;
      const float* tile = kv + (key - split) * kv_rows;
      kernels::scores_f32(tile, kv_rows, n, nope, q, false, nullptr, scores);
      kernels::scores_f32(k_pe + (key - split) * rope, rope, n, rope, q + nope * kLanes, true,
                          nullptr, scores);
      softmax(head, query, key, n, scores);
      kernels::values_f32(scores, n, tile + nope, kv_rows, shape.v_head_dim,
                          head.running.correction + query, head.running.group_values(query));
    });
  }
}

// Forms `channels` columns of keys or values of a tile: latents times the rows of a weight, packed
// in groups of kLanes rows.
void expand_bf16(const uint16_t* latents, int64_t stride, int64_t n, int64_t rank,
                 const uint32_t* weight, int64_t channels, float* work, uint16_t* out,
                 int64_t out_stride) {
  const int64_t weight_words = round_up(rank, 2) / 2 * kLanes;
  for (int64_t c = 0; c < channels; c += 2 * kLanes, weight += 2 * weight_words) {
    const int64_t groups = std::min<int64_t>(2, (channels - c + kLanes - 1) / kLanes);
    kernels::scores_bf16(groups, latents, stride, n, round_up(rank, 2), weight, weight_words, false,
                         nullptr, work);
    for (int64_t g = 0; g < groups; ++g) {
      kernels::store_rows_bf16(work + g * kTileKeys * kLanes, n, out + c + g * kLanes, out_stride);
    }
  }
}

void attend_bf16(const Head& head) {
  static thread_local kernels::Scratch scratch;
  const MlaShape& shape = head.shape;
  const MlaSequence& s = head.sequence;
  const int64_t rank = shape.kv_lora_rank, nope = shape.qk_nope_head_dim,
                rope = shape.qk_rope_head_dim, v_dim = shape.v_head_dim,
                width = shape.cache_width();
  const int64_t groups = (s.n_queries + kLanes - 1) / kLanes;
  // In words of two bf16 numbers. Keys and values of a token stand beside each other.
  const int64_t nope_words = (nope + 1) / 2, rope_words = (rope + 1) / 2,
                rank_words = (rank + 1) / 2,
                kv_words = (round_up(nope, 32) + round_up(v_dim, 32)) / 2,
                latent_words = rank_words + rope_words,
                group_words = (nope_words + rope_words) * kLanes;
  const int64_t panels = (round_up(nope, kLanes) + round_up(v_dim, kLanes)) / kLanes;

  constexpr int64_t kGroups = 2;  // of queries at a time
  constexpr int64_t kTileFloats = kTileKeys * kLanes, kWeightWords = kTileKeys / 2 * kLanes;
  float* scores =
      scratch.get(kGroups * (kTileFloats + kWeightWords) + panels * rank_words * kLanes +
                  kSplitTokens * (kv_words + rope_words) + kTileKeys * latent_words +
                  groups * group_words + shape.kv_head_rows() * rank);
  auto* weights = reinterpret_cast<uint32_t*>(scores + kGroups * kTileFloats);
  uint32_t* w_uk = weights + kGroups * kWeightWords;
  uint32_t* w_uv = w_uk + round_up(nope, kLanes) * rank_words;
  uint32_t* packed = w_uk + panels * rank_words * kLanes;
  uint32_t* kv = packed + groups * group_words;
  uint32_t* k_pe = kv + kSplitTokens * kv_words;
  uint32_t* latents = k_pe + kSplitTokens * rope_words;
  auto* decoded = reinterpret_cast<float*>(latents + kTileKeys * latent_words);

  const HeadUpProjection::Decoded w = head.up.decode(decoded);
  for (int64_t c = 0; c < nope; c += kLanes) {
    kernels::pack_rows_bf16(w.w_uk + c * w.uk_row, w.uk_row, w.uk_col, std::min(kLanes, nope - c),
                            rank, w_uk + c * rank_words);
  }
  for (int64_t c = 0; c < v_dim; c += kLanes) {
    kernels::pack_rows_bf16(w.w_uv + c * rank, rank, 1, std::min(kLanes, v_dim - c), rank,
                            w_uv + c * rank_words);
  }
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t rows = std::min(kLanes, s.n_queries - g * kLanes);
    const float* from = head.q.row(g * kLanes);
    uint32_t* to = packed + g * group_words;
    kernels::pack_rows_bf16(from, head.q.stride, 1, rows, nope, to);
    kernels::pack_rows_bf16(from + nope, head.q.stride, 1, rows, rope, to + nope_words * kLanes);
  }

  auto* kv_rows = reinterpret_cast<uint16_t*>(kv);
  auto* rope_rows = reinterpret_cast<uint16_t*>(k_pe);
  auto* latent_rows = reinterpret_cast<uint16_t*>(latents);
  const bool staged = s.dtype != DType::kBF16 || rank % 2 != 0 || width % 2 != 0;
  for (int64_t split = 0; split < s.n_keys; split += kSplitTokens) {
    const int64_t split_end = std::min(s.n_keys, split + kSplitTokens);
    for (int64_t key = split; key < split_end; key += kPageTokens) {
      const int64_t n = std::min(kPageTokens, split_end - key);
      const auto* rows = static_cast<const uint16_t*>(s.pages[key / kPageTokens]);
      int64_t stride = width;
      if (staged) {
        stride = 2 * latent_words;
        kernels::decode_latents_bf16(layout_of(shape, s.dtype), rows, n, latent_rows, stride);
        rows = latent_rows;
      }
      for (int64_t j = 0; j < n; ++j) {
        uint16_t* to = rope_rows + (key - split + j) * 2 * rope_words;
        to[2 * rope_words - 1] = 0;
        std::copy_n(rows + j * stride + rank, rope, to);
        // The channel that an odd rank is padded with meets a weight of 0: it has to be a number.
        if (rank % 2 != 0) latent_rows[j * stride + rank] = 0;
      }
      uint16_t* to = kv_rows + (key - split) * 2 * kv_words;
      expand_bf16(rows, stride, n, rank, w_uk, nope, scores, to, 2 * kv_words);
      expand_bf16(rows, stride, n, rank, w_uv, v_dim, scores, to + round_up(nope, 32),
                  2 * kv_words);
    }
    for_tiles(head, kGroups * kLanes, split, split_end, [&](int64_t query, int64_t key, int64_t n) {
      const uint32_t* q = packed + query / kLanes * group_words;
      const uint16_t* tile = kv_rows + (key - split) * 2 * kv_words;
      const int64_t now = std::min(kGroups, groups - query / kLanes);
      kernels::scores_bf16(now, tile, 2 * kv_words, n, 2 * nope_words, q, group_words, false,
                           nullptr, scores);
      kernels::scores_bf16(now, rope_rows + (key - split) * 2 * rope_words, 2 * rope_words, n,
                           2 * rope_words, q + nope_words * kLanes, group_words, true, nullptr,
                           scores);
      for (int64_t g = 0; g < now; ++g) {
        softmax(head, query + g * kLanes, key, n, scores + g * kTileFloats);
        kernels::pack_weights_bf16(scores + g * kTileFloats, n, weights + g * kWeightWords);
      }
      kernels::values_bf16(now, weights, kWeightWords, n, tile + round_up(nope, 32), 2 * kv_words,
                           round_up(v_dim, 32), head.running.correction + query,
                           head.running.group_values(query));
    });
  }
}

void expanded_head(const MlaShape& shape, Matrix q, const LatentUpProjection& up,
                   const MlaSequence& s, int64_t h, Matrix out) {
  static thread_local kernels::Scratch scratch;
  const kernels::TileSession session;
  const int64_t rows = round_up(s.n_queries, kLanes), v_dim = shape.v_head_dim,
                width = round_up(v_dim, kernels::kPanel);
  const Running running(scratch.get(Running::floats(rows, width)), rows, width);
  running.clear(rows);
  const Matrix head_q = q.row_range(s.first_row, s.first_row + s.n_queries)
                            .columns(h * shape.qk_head_dim(), shape.qk_head_dim());
  const Head head{shape, s, head_q, h, HeadUpProjection(shape, up, h), running};
  arithmetic(shape, s) == Arithmetic::kFloat32 ? attend_f32(head) : attend_bf16(head);
  for (int64_t i = 0; i < s.n_queries; ++i) {
    if (s.attentions != nullptr) {
      // What lies beyond the last tile that a query's group went over was never written.
      const int64_t seen = head.past() + i + 1;
      float* row = s.attentions + (h * s.n_queries + i) * s.n_keys;
      finish_attentions(row, seen, running.maximum[i], running.sum[i]);
      std::fill(row + seen, row + s.n_keys, 0.0f);
    }
    if (s.log_sum_exp != nullptr)
      s.log_sum_exp[h * s.n_queries + i] = running.maximum[i] + std::log(running.sum[i]);
    running.finish(i, v_dim, out.row(s.first_row + i) + h * v_dim);
  }
}

}  // namespace

void expanded_attention(const MlaShape& shape, Matrix q, const LatentUpProjection& up,
                        std::span<const MlaSequence> sequences, Matrix out) {
  const int64_t heads = shape.num_heads;
  thread_pool().parallel_for(static_cast<int64_t>(sequences.size()) * heads, [&](int64_t i) {
    expanded_head(shape, q, up, sequences[i / heads], i % heads, out);
  });
}

}  // namespace dsv3::ops
