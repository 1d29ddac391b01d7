// Gradients of latent attention against differences of plain attention in double; the result and
// log_sum_exp that they go by come from the forward pass, which is held against the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "ops/finite_differences.h"
#include "ops/mla_attention.h"

namespace dsv3::ops {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A batch of whole sequences, and its forward pass.
struct Batch {
  MlaShape shape;
  std::vector<int64_t> lengths;
  std::vector<std::vector<uint8_t>> visible;  // of each sequence; empty: all
  LatentUpProjection up;
  Rows q, kv, d_out, out;
  std::vector<std::vector<float>> log_sum_exp;

  Batch(const MlaShape& of, std::vector<int64_t> n, DType dtype = DType::kF32)
      : shape(of),
        lengths(std::move(n)),
        visible(lengths.size()),
        q(0, 0),
        kv(0, 0),
        d_out(0, 0),
        out(0, 0) {
    Random random(1);
    const int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
    q = random.rows(tokens, shape.num_heads * shape.qk_head_dim());
    kv = random.rows(tokens, shape.cache_width());
    d_out = random.rows(tokens, shape.num_heads * shape.v_head_dim);
    up.kv_b_proj = random.weight(shape.num_heads * shape.kv_head_rows(), shape.kv_lora_rank, dtype);
  }

  std::vector<MlaSequence> sequences() {
    log_sum_exp.resize(lengths.size());
    std::vector<MlaSequence> all;
    int64_t row = 0;
    for (size_t i = 0; i < lengths.size(); ++i) {
      log_sum_exp[i].resize(shape.num_heads * lengths[i], NAN);
      all.push_back({.n_keys = lengths[i],
                     .first_row = row,
                     .n_queries = lengths[i],
                     .visible = visible[i].empty() ? nullptr : visible[i].data(),
                     .log_sum_exp = log_sum_exp[i].data()});
      row += lengths[i];
    }
    return all;
  }

  // Fills out and log_sum_exp. The cache is float32, whatever the weights.
  void forward() {
    const LatentLayout layout{
        .dtype = DType::kF32, .rank = shape.kv_lora_rank, .rope = shape.qk_rope_head_dim};
    std::vector<MlaSequence> all = sequences();
    std::vector<std::vector<Tensor>> pages(all.size());
    std::vector<std::vector<const void*>> pointers(all.size());
    for (size_t i = 0; i < all.size(); ++i) {
      for (int64_t t = 0; t < lengths[i]; ++t) {
        if (t % kPageTokens == 0) {
          pages[i].push_back(Tensor(DType::kU8, {layout.page_bytes()}));
          pointers[i].push_back(pages[i].back().raw());
        }
        kernels::store_latent(layout, pages[i].back().mutable_raw(), t % kPageTokens,
                              kv.matrix().row(all[i].first_row + t));
      }
      all[i].pages = pointers[i];
    }
    out = Rows(q.rows, d_out.cols, NAN);
    mla_attention(shape, MlaForm::kAuto, q.matrix(), up, all, out.matrix());
  }

  struct Gradients {
    Rows dq, dkv;
    LinearWeight d_kv_b;
  };
  Gradients backward() {
    Gradients g{Rows(q.rows, q.cols, NAN), Rows(kv.rows, kv.cols, NAN), gradient_for(up.kv_b_proj)};
    mla_attention_backward(shape, q.matrix(), kv.matrix(), up.kv_b_proj, sequences(), out.matrix(),
                           d_out.matrix(), g.dq.matrix(), g.dkv.matrix(), g.d_kv_b);
    return g;
  }
};

struct Reference {
  const Batch& batch;
  std::vector<double> q, kv, kv_b;
  std::vector<std::vector<double>> log_sum_exp;  // of the last call, laid out as the batch's

  explicit Reference(const Batch& b)
      : batch(b),
        q(doubles(b.q)),
        kv(doubles(b.kv)),
        kv_b(doubles(decoded(b.up.kv_b_proj))),
        log_sum_exp(b.lengths.size()) {}

  // sum(out * d_out): all keys and values expanded, softmax, weighted sum.
  double loss() {
    const MlaShape& s = batch.shape;
    double sum = 0;
    int64_t begin = 0;
    for (size_t i = 0; i < batch.lengths.size(); ++i) {
      log_sum_exp[i].clear();
      for (int64_t h = 0; h < s.num_heads; ++h) sum += head_loss(i, begin, h);
      begin += batch.lengths[i];
    }
    return sum;
  }

 private:
  double head_loss(size_t sequence, int64_t begin, int64_t h) {
    const MlaShape& s = batch.shape;
    const int64_t n = batch.lengths[sequence], nope = s.qk_nope_head_dim, rank = s.kv_lora_rank,
                  qk = s.qk_head_dim(), v_dim = s.v_head_dim, rows = s.kv_head_rows();
    const std::vector<uint8_t>& visible = batch.visible[sequence];
    std::vector<double> k(n * qk), v(n * v_dim), weights(n);
    for (int64_t j = 0; j < n; ++j) {
      const double* latent = &kv[(begin + j) * s.cache_width()];
      for (int64_t i = 0; i < rows; ++i) {
        double sum = 0;
        for (int64_t r = 0; r < rank; ++r) sum += kv_b[(h * rows + i) * rank + r] * latent[r];
        (i < nope ? k[j * qk + i] : v[j * v_dim + i - nope]) = sum;
      }
      for (int64_t i = 0; i < qk - nope; ++i) k[j * qk + nope + i] = latent[rank + i];
    }
    double loss = 0;
    for (int64_t t = 0; t < n; ++t) {
      const double* query = &q[((begin + t) * s.num_heads + h) * qk];
      const float* d_out = &batch.d_out.data[((begin + t) * s.num_heads + h) * v_dim];
      double normaliser = 0, weighted = 0;
      for (int64_t j = 0; j <= t; ++j) {
        if (!visible.empty() && visible[j] == 0) continue;
        double score = 0, value = 0;
        for (int64_t i = 0; i < qk; ++i) score += query[i] * k[j * qk + i];
        for (int64_t i = 0; i < v_dim; ++i) value += v[j * v_dim + i] * d_out[i];
        const double e = std::exp(double{s.softmax_scale} * score);  // scores are small here
        normaliser += e;
        weighted += e * value;
      }
      log_sum_exp[sequence].push_back(std::log(normaliser));
      if (normaliser > 0) loss += weighted / normaliser;
    }
    return loss;
  }
};

void expect_log_sum_exp(const Batch& b, const Reference& r) {
  for (size_t i = 0; i < b.lengths.size(); ++i) {
    ASSERT_EQ(r.log_sum_exp[i].size(), b.log_sum_exp[i].size());
    for (size_t j = 0; j < r.log_sum_exp[i].size(); ++j) {
      const double expected = r.log_sum_exp[i][j];
      if (std::isinf(expected)) {
        EXPECT_EQ(b.log_sum_exp[i][j], -kInfinity);
        continue;
      }
      // A score is a float32 sum over channels of sums over the rank, of magnitude 10 or so here;
      // the sum over keys adds relatively what it rounds.
      const auto roundings = static_cast<double>(
          10 * (b.shape.kv_lora_rank + b.shape.qk_head_dim()) + b.lengths[i] + 16);
      EXPECT_NEAR(b.log_sum_exp[i][j], expected, roundings * kRounding)
          << "sequence " << i << ", element " << j;
    }
  }
}

void expect_gradients(Batch& b) {
  const int64_t longest = *std::max_element(b.lengths.begin(), b.lengths.end());
  SCOPED_TRACE(testing::Message() << b.lengths.size() << " sequences, the longest of " << longest
                                  << " tokens, " << b.shape.num_heads << " heads");
  b.forward();
  const Batch::Gradients g = b.backward();
  Reference r(b);
  r.loss();
  expect_log_sum_exp(b, r);
  const auto loss = [&] { return r.loss(); };
  // Sums over keys, queries, channels and the rank follow each other; softmax weights err
  // relatively by the rounding of scores (see above).
  const auto roundings =
      static_cast<double>(longest + 20 * (b.shape.kv_lora_rank + b.shape.qk_head_dim()));
  expect_gradient("dq", r.q, doubles(g.dq), roundings, loss);
  expect_gradient("dkv", r.kv, doubles(g.dkv), roundings, loss);
  expect_gradient("kv_b_proj", r.kv_b, received(g.d_kv_b), roundings, loss);
}

const MlaShape kShape = {.num_heads = 2,
                         .qk_nope_head_dim = 6,
                         .qk_rope_head_dim = 2,
                         .v_head_dim = 5,
                         .kv_lora_rank = 7,
                         .softmax_scale = 0.35f};
const MlaShape kSmall = {.num_heads = 1,
                         .qk_nope_head_dim = 3,
                         .qk_rope_head_dim = 2,
                         .v_head_dim = 3,
                         .kv_lora_rank = 4,
                         .softmax_scale = 0.4f};

TEST(MlaBackwardTest, BackwardMatchesFiniteDifferences) {
  for (const std::vector<int64_t>& lengths :
       std::vector<std::vector<int64_t>>{{1}, {2}, {9}, {5, 1, 12}}) {
    Batch b(kShape, lengths);
    expect_gradients(b);
  }
}

TEST(MlaBackwardTest, AtTheBoundariesOfTiles) {
  // 64 queries, 512 keys.
  for (const int64_t n : {63, 64, 65, 130}) {
    Batch b(kShape, {3, n, 7});
    expect_gradients(b);
  }
  for (const int64_t n : {512, 513, 580}) {
    Batch b(kSmall, {n, 30});
    expect_gradients(b);
  }
}

TEST(MlaBackwardTest, HiddenKeysGetNoGradientAndQueriesWithoutKeysNeither) {
  for (const auto& [shape, n] :
       std::vector<std::pair<MlaShape, int64_t>>{{kShape, 20}, {kShape, 90}, {kSmall, 530}}) {
    Batch b(shape, {n, 8});
    std::vector<uint8_t>& visible = b.visible[0];
    visible.assign(n, 1);
    visible[0] = visible[1] = visible[n / 2] = visible[n - 1] = 0;  // the first two see nothing
    expect_gradients(b);
    const Batch::Gradients g = b.backward();
    for (int64_t i = 0; i < b.q.cols; ++i) EXPECT_TRUE(g.dq.at(0, i) == 0 && g.dq.at(1, i) == 0);
    for (int64_t i = 0; i < b.kv.cols; ++i) {
      for (const int64_t hidden : {int64_t{0}, int64_t{1}, n / 2, n - 1})
        EXPECT_EQ(g.dkv.at(hidden, i), 0) << hidden;
      EXPECT_NE(g.dkv.at(2, i), 0);
    }
  }
}

TEST(MlaBackwardTest, LaterTokensAndOtherSequencesChangeNothing) {
  // Without a gradient for what follows token 70 and for the other sequences, those tokens have no
  // part.
  Batch b(kShape, {100, 20}), shorter(kShape, {70});
  for (Rows Batch::*m : {&Batch::q, &Batch::kv, &Batch::d_out})
    std::copy_n((b.*m).data.begin(), (shorter.*m).data.size(), (shorter.*m).data.begin());
  shorter.up = b.up;
  std::fill(b.d_out.data.begin() + 70 * b.d_out.cols, b.d_out.data.end(), 0.0f);
  b.forward();
  shorter.forward();
  const Batch::Gradients g = b.backward(), expected = shorter.backward();
  const auto expect_rows = [&](const Rows& found, const Rows& first) {
    for (int64_t t = 0; t < found.rows; ++t) {
      for (int64_t i = 0; i < found.cols; ++i)
        ASSERT_NEAR(found.at(t, i), t < 70 ? first.at(t, i) : 0, t < 70 ? 1e-5 : 0) << t;
    }
  };
  expect_rows(g.dq, expected.dq);
  expect_rows(g.dkv, expected.dkv);
}

TEST(MlaBackwardTest, AnyNumberOfThreadsGivesTheSameBits) {
  Batch b(kShape, {130, 1, 40});
  b.forward();
  std::vector<std::vector<double>> found;
  for (const int threads : {1, 2, 3}) {
    const ThreadCount count(threads);
    const Batch::Gradients g = b.backward();
    std::vector<double>& all = found.emplace_back(received(g.d_kv_b));
    for (const float d : g.dq.data) all.push_back(d);
    for (const float d : g.dkv.data) all.push_back(d);
  }
  EXPECT_EQ(found[0], found[1]);
  EXPECT_EQ(found[0], found[2]);
}

TEST(MlaBackwardTest, Bfloat16IsCloseToFloat32) {
  // The same numbers, once as bfloat16 weights. Scores of magnitude 1 or so err by a few times
  // 1/256, and softmax weights relatively by as much; in root mean square it is less than half.
  const std::vector<int64_t> lengths = {80, 33};
  Batch rounded(kShape, lengths, DType::kBF16), exact(kShape, lengths);
  exact.up.kv_b_proj.weight = formats::convert(rounded.up.kv_b_proj.weight, DType::kF32);
  rounded.forward();
  exact.forward();
  const Batch::Gradients g = rounded.backward(), expected = exact.backward();
  constexpr double kBound = 4.0 / 256;
  EXPECT_LT(relative_difference(doubles(g.dq), doubles(expected.dq)), kBound);
  EXPECT_LT(relative_difference(doubles(g.dkv), doubles(expected.dkv)), kBound);
  EXPECT_LT(relative_difference(received(g.d_kv_b), received(expected.d_kv_b)), kBound);
}

TEST(MlaBackwardTest, RefusesSequencesWithEarlierKeysOrWithoutLogSumExp) {
  Batch b(kShape, {4});
  b.forward();
  std::vector<MlaSequence> sequences = b.sequences();
  Rows dq(4, b.q.cols), dkv(4, b.kv.cols);
  LinearWeight gradient = gradient_for(b.up.kv_b_proj);
  const auto backward = [&] {
    mla_attention_backward(b.shape, b.q.matrix(), b.kv.matrix(), b.up.kv_b_proj, sequences,
                           b.out.matrix(), b.d_out.matrix(), dq.matrix(), dkv.matrix(), gradient);
  };
  sequences[0].n_keys = 5;
  EXPECT_THROW(backward(), Error);
  sequences = b.sequences();
  sequences[0].log_sum_exp = nullptr;
  EXPECT_THROW(backward(), Error);
}

}  // namespace
}  // namespace dsv3::ops
