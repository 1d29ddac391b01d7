// Gradients of attention. Keys and values of all heads are formed again from the latents; scores
// and softmax weights, tile by tile, for one head of one sequence at a time.
#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/elementwise/elementwise_backward.h"
#include "kernels/scratch.h"
#include "ops/mla_attention.h"

namespace dsv3::ops {
namespace {

using kernels::matmul;

constexpr int64_t kKeys = 512;  // a tile is kBackwardQueries times as many keys
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// One head of one sequence; rows are the sequence's tokens.
struct Head {
  const MlaShape& shape;
  const MlaSequence& sequence;
  kernels::MatmulPrecision precision;
  const float* log_sum_exp;  // [tokens]
  Matrix q, k, v;            // k: k_nope and k_pe beside each other
  Matrix out, d_out;
  Matrix dq, dk, dv;  // written
};

// s[tile rows, n] become softmax weights, dp the gradients of the scores. What a query does not see
// becomes 0 in both.
void weights_backward(const Head& head, int64_t query, int64_t rows, int64_t key, int64_t n,
                      const float* delta, Matrix s, Matrix dp) {
  const uint8_t* visible = head.sequence.visible;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t seen = std::clamp<int64_t>(query + i + 1 - key, 0, n);
    float* row = s.row(i);
    if (visible != nullptr) {
      for (int64_t j = 0; j < seen; ++j) {
        if (visible[key + j] == 0) row[j] = -kInfinity;
      }
    }
    // A query without keys: no weight, no gradient.
    const float normaliser = head.log_sum_exp[query + i];
    kernels::attention_weights_backward(row, dp.row(i), head.shape.softmax_scale,
                                        normaliser == -kInfinity ? kInfinity : normaliser,
                                        delta[query + i], seen);
    std::fill(row + seen, row + n, 0.0f);
    std::fill(dp.row(i) + seen, dp.row(i) + n, 0.0f);
  }
}

void head_backward(const Head& head) {
  static thread_local kernels::Scratch scratch;
  const int64_t tokens = head.q.rows, qk = head.q.cols, v_dim = head.v.cols;
  const int64_t width = std::min(kKeys, tokens);
  float* memory = scratch.get(2 * kBackwardQueries * width + tokens);
  float* delta = memory + 2 * kBackwardQueries * width;  // sum over keys of p * dp
  for (int64_t t = 0; t < tokens; ++t) {
    delta[t] = kernels::dot(head.out.row(t), head.d_out.row(t), v_dim);
    std::fill_n(head.dk.row(t), qk, 0.0f);
    std::fill_n(head.dv.row(t), v_dim, 0.0f);
  }
  const auto product = [&](int64_t m, int64_t n, int64_t k, Matrix a, bool a_transposed, Matrix b,
                           bool b_transposed, bool accumulate, Matrix c) {
    matmul(head.precision, m, n, k, a_transposed ? transposed(operand(a)) : operand(a),
           b_transposed ? transposed(operand(b)) : operand(b), accumulate, c.data, c.stride);
  };
  for (int64_t key = 0; key < tokens; key += kKeys) {
    const int64_t first = key / kBackwardQueries * kBackwardQueries;
    for (int64_t query = first; query < tokens; query += kBackwardQueries) {
      const int64_t end = std::min(tokens, query + kBackwardQueries), rows = end - query;
      const int64_t n = std::min(kKeys, end - key);
      const Matrix s(memory, rows, n, width), dp(memory + kBackwardQueries * width, rows, n, width);
      const Matrix q = head.q.row_range(query, end), d_out = head.d_out.row_range(query, end);
      const Matrix k = head.k.row_range(key, key + n), v = head.v.row_range(key, key + n);
      product(rows, n, qk, q, false, k, true, false, s);
      product(rows, n, v_dim, d_out, false, v, true, false, dp);
      weights_backward(head, query, rows, key, n, delta, s, dp);
      product(n, v_dim, rows, s, true, d_out, false, true, head.dv.row_range(key, key + n));
      product(n, qk, rows, dp, true, q, false, true, head.dk.row_range(key, key + n));
      product(rows, qk, n, dp, false, k, false, key > 0, head.dq.row_range(query, end));
    }
  }
}

}  // namespace

void mla_attention_backward(const MlaShape& shape, Matrix q, Matrix kv,
                            const LinearWeight& kv_b_proj, std::span<const MlaSequence> sequences,
                            Matrix out, Matrix d_out, Matrix dq, Matrix dkv,
                            LinearWeight& d_kv_b_proj) {
  static thread_local kernels::Scratch scratch;
  const int64_t tokens = q.rows, heads = shape.num_heads, nope = shape.qk_nope_head_dim,
                rope = shape.qk_rope_head_dim, qk = shape.qk_head_dim(), v_dim = shape.v_head_dim,
                rank = shape.kv_lora_rank, width = heads * shape.kv_head_rows();
  for (const MlaSequence& s : sequences) {
    if (s.n_keys != s.n_queries || s.log_sum_exp == nullptr) {
      fail("mla_attention_backward: {} keys for {} queries{}", s.n_keys, s.n_queries,
           s.log_sum_exp == nullptr ? ", without log_sum_exp" : "");
    }
  }
  const Matrix up(scratch.get(tokens * (2 * width + heads * rope)), tokens, width);
  const Matrix d_up(up.data + tokens * width, tokens, width);
  const Matrix d_k_pe(d_up.data + tokens * width, tokens, heads * rope);
  const Matrix latents = kv.columns(0, rank), k_pe = kv.columns(rank, rope);
  linear(latents, kv_b_proj, up, Activations::kFast);

  thread_pool().parallel_for(static_cast<int64_t>(sequences.size()) * heads, [&](int64_t task) {
    static thread_local kernels::Scratch keys;
    const MlaSequence& s = sequences[task / heads];
    const int64_t h = task % heads, begin = s.first_row, n = s.n_queries;
    const auto part = [&](Matrix x, int64_t channel, int64_t channels) {
      return x.row_range(begin, begin + n).columns(channel, channels);
    };
    const int64_t row = h * shape.kv_head_rows();
    const Matrix k(keys.get(2 * n * qk), n, qk), dk(k.data + n * qk, n, qk);
    const Matrix k_nope = part(up, row, nope), k_rope = part(k_pe, 0, rope);
    for (int64_t t = 0; t < n; ++t) {
      std::copy_n(k_nope.row(t), nope, k.row(t));
      std::copy_n(k_rope.row(t), rope, k.row(t) + nope);
    }
    head_backward({.shape = shape,
                   .sequence = s,
                   .precision = backward_precision(kv_b_proj),
                   .log_sum_exp = s.log_sum_exp + h * n,
                   .q = part(q, h * qk, qk),
                   .k = k,
                   .v = part(up, row + nope, v_dim),
                   .out = part(out, h * v_dim, v_dim),
                   .d_out = part(d_out, h * v_dim, v_dim),
                   .dq = part(dq, h * qk, qk),
                   .dk = dk,
                   .dv = part(d_up, row + nope, v_dim)});
    const Matrix d_nope = part(d_up, row, nope), d_rope = part(d_k_pe, h * rope, rope);
    for (int64_t t = 0; t < n; ++t) {
      std::copy_n(dk.row(t), nope, d_nope.row(t));
      std::copy_n(dk.row(t) + nope, rope, d_rope.row(t));
    }
  });

  // All heads share k_pe.
  thread_pool().parallel_for(tokens, [&](int64_t t) {
    float* to = dkv.row(t) + rank;
    std::copy_n(d_k_pe.row(t), rope, to);
    for (int64_t h = 1; h < heads; ++h) kernels::add(d_k_pe.row(t) + h * rope, rope, to);
  });
  linear_backward(latents, kv_b_proj, d_up, false, dkv.columns(0, rank), d_kv_b_proj);
}

}  // namespace dsv3::ops
