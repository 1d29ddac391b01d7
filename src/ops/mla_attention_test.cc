// Both forms of latent attention against the plain one: all keys and values expanded, softmax,
// weighted sum.
#include "ops/mla_attention.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "formats/float_formats.h"
#include "ops/test_data.h"

namespace dsv3::ops {
namespace {

using Attention = std::function<void(const MlaShape&, Matrix, const LatentUpProjection&,
                                     std::span<const MlaSequence>, Matrix)>;
const std::pair<const char*, Attention> kForms[] = {{"absorbed", mla_attention_absorbed},
                                                    {"expanded", mla_attention_expanded}};

LatentLayout layout_of(const MlaShape& shape, DType dtype) {
  return {.dtype = dtype, .rank = shape.kv_lora_rank, .rope = shape.qk_rope_head_dim};
}

// A sequence's cache. What lies behind its last token is NaN, so that reading there shows.
class Pages {
 public:
  Pages(const MlaShape& shape, int64_t n_keys, DType dtype, Random& random)
      : n_keys_(n_keys), dtype_(dtype), latents_(n_keys, shape.cache_width()) {
    const LatentLayout layout = layout_of(shape, dtype);
    const int64_t width = shape.cache_width();
    std::vector<float> row(width);
    for (int64_t begin = 0; begin < n_keys; begin += kPageTokens) {
      Tensor page = Tensor::empty(DType::kU8, {layout.page_bytes()});
      for (int64_t t = 0; t < kPageTokens; ++t) {
        const bool there = begin + t < n_keys;
        for (float& x : row) x = there ? random.normal() : std::numeric_limits<float>::quiet_NaN();
        kernels::store_latent(layout, page.mutable_raw(), t, row.data());
      }
      kernels::decode_latents(layout, page.raw(), std::min(kPageTokens, n_keys - begin),
                              &latents_.data[begin * width], width);
      tensors_.push_back(page);
      pointers_.push_back(page.raw());
    }
  }

  const Rows& latents() const { return latents_; }
  /// The sequence as it was when it had `n_keys` keys, the last n_queries of them new.
  MlaSequence sequence(int64_t n_keys, int64_t first_row, int64_t n_queries) const {
    MlaSequence s;
    s.pages = std::span(pointers_).first((n_keys + kPageTokens - 1) / kPageTokens);
    s.dtype = dtype_;
    s.n_keys = n_keys;
    s.first_row = first_row;
    s.n_queries = n_queries;
    return s;
  }
  MlaSequence sequence(int64_t first_row, int64_t n_queries) const {
    return sequence(n_keys_, first_row, n_queries);
  }

 private:
  int64_t n_keys_;
  DType dtype_;
  Rows latents_;
  std::vector<Tensor> tensors_;
  std::vector<const void*> pointers_;
};

// Half a unit in the last place of a bf16 number at most.
constexpr double kInputRounding = 1.0 / 256;
// Of the largest of a group of channels of a query in 8 bits, where the sum of magnitudes that it
// is held against has half of that on average. The tests' ranks are one group.
constexpr double kCodeRounding = 2.0 / 254;

struct Reference {
  std::vector<double> out;         // [queries, heads * v_head_dim]
  std::vector<double> attentions;  // [heads, queries, keys]
  double out_bound = 0, attention_bound = 0;
};

// In double. The bounds follow from: a float32 sum of n products errs by at most n roundings of the
// sum of their magnitudes; a softmax weight errs relatively by twice the largest error of a score;
// n sums and products more follow. In bf16 queries, weights, keys and values are rounded besides.
Reference reference(const MlaShape& s, const Rows& q, const Rows& kv_b, const Rows& latents,
                    const MlaSequence& seq) {
  const int64_t nope = s.qk_nope_head_dim, rope = s.qk_rope_head_dim, rank = s.kv_lora_rank,
                keys = seq.n_keys;
  Reference r{std::vector<double>(seq.n_queries * s.num_heads * s.v_head_dim),
              std::vector<double>(s.num_heads * seq.n_queries * keys)};
  double largest_score = 0, largest_value = 0;
  for (int64_t h = 0; h < s.num_heads; ++h) {
    // [keys, nope + v], and the sums of magnitudes.
    std::vector<double> kv(keys * s.kv_head_rows()), magnitude(kv.size());
    for (int64_t j = 0; j < keys; ++j) {
      for (int64_t i = 0; i < s.kv_head_rows(); ++i) {
        const float* w = &kv_b.data[(h * s.kv_head_rows() + i) * rank];
        const float* c = &latents.data[j * s.cache_width()];
        double sum = 0, absolute = 0;
        for (int64_t k = 0; k < rank; ++k)
          sum += double{w[k]} * c[k], absolute += std::fabs(double{w[k]} * c[k]);
        kv[j * s.kv_head_rows() + i] = sum;
        magnitude[j * s.kv_head_rows() + i] = absolute;
        if (i >= nope) largest_value = std::max(largest_value, absolute);
      }
    }
    for (int64_t query = 0; query < seq.n_queries; ++query) {
      const float* head_q = &q.data[(seq.first_row + query) * q.cols + h * s.qk_head_dim()];
      double* p = &r.attentions[(h * seq.n_queries + query) * keys];
      double maximum = -INFINITY, sum = 0;
      const int64_t seen = keys - seq.n_queries + query + 1;
      const auto sees = [&](int64_t j) {
        return j < seen && (seq.visible == nullptr || seq.visible[j] != 0);
      };
      for (int64_t j = 0; j < seen; ++j) {
        double score = 0, absolute = 0;
        for (int64_t i = 0; i < nope; ++i) {
          score += head_q[i] * kv[j * s.kv_head_rows() + i];
          absolute += std::fabs(head_q[i]) * magnitude[j * s.kv_head_rows() + i];
        }
        for (int64_t i = 0; i < rope; ++i) {
          const double product = double{head_q[nope + i]} * latents.at(j, rank + i);
          score += product, absolute += std::fabs(product);
        }
        p[j] = score * s.softmax_scale;
        largest_score = std::max(largest_score, absolute * s.softmax_scale);
        if (sees(j)) maximum = std::max(maximum, p[j]);
      }
      for (int64_t j = 0; j < keys; ++j) sum += p[j] = sees(j) ? std::exp(p[j] - maximum) : 0;
      for (int64_t j = 0; j < keys && sum > 0; ++j) {
        p[j] /= sum;
        double* out = &r.out[(query * s.num_heads + h) * s.v_head_dim];
        for (int64_t i = 0; i < s.v_head_dim; ++i)
          out[i] += p[j] * kv[j * s.kv_head_rows() + nope + i];
      }
    }
  }
  const auto depth = static_cast<double>(rank + s.qk_head_dim() + 2);
  const double softmax =
      2 * depth * kRounding * largest_score + static_cast<double>(keys + 16) * kRounding;
  const double rounding = seq.dtype == DType::kF32 || s.precise ? 0
                          : seq.dtype == DType::kBF16           ? kInputRounding
                                                                : kCodeRounding;
  r.attention_bound = softmax + std::expm1(2 * 3 * rounding * largest_score);
  r.out_bound = (r.attention_bound + 3 * rounding + static_cast<double>(keys + rank) * kRounding) *
                largest_value;
  return r;
}

void expect_near(const Reference& expected, const Rows& out, int64_t first_row,
                 const std::string& what) {
  double worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < expected.out.size(); ++i) {
    const double error = std::fabs(out.data[first_row * out.cols + i] - expected.out[i]);
    if (!(error <= worst)) worst = error, at = i;
  }
  EXPECT_LE(worst, expected.out_bound)
      << what << ": element " << at << ", expected " << expected.out[at] << ", found "
      << out.data[first_row * out.cols + at];
}

const MlaShape kShapes[] = {
    {.num_heads = 3,
     .qk_nope_head_dim = 7,
     .qk_rope_head_dim = 2,
     .v_head_dim = 5,
     .kv_lora_rank = 9,
     .softmax_scale = 0.4f},
    {.num_heads = 1,
     .qk_nope_head_dim = 16,
     .qk_rope_head_dim = 8,
     .v_head_dim = 24,
     .kv_lora_rank = 33,
     .softmax_scale = 0.2f},
    {.num_heads = 4,
     .qk_nope_head_dim = 12,
     .qk_rope_head_dim = 4,
     .v_head_dim = 8,
     .kv_lora_rank = 24,
     .softmax_scale = 0.3f},
    {.num_heads = 16,
     .qk_nope_head_dim = 16,
     .qk_rope_head_dim = 8,
     .v_head_dim = 32,
     .kv_lora_rank = 64,
     .softmax_scale = 0.1f},
};

// Types of the cache, and whether all is computed in float32.
const std::pair<DType, bool> kCaches[] = {{DType::kF32, false},
                                          {DType::kBF16, true},
                                          {DType::kBF16, false},
                                          {DType::kI8, true},
                                          {DType::kI8, false}};

TEST(MlaAttentionTest, BothFormsEqualThePlainOneAtEveryTileBoundary) {
  Random random(1);
  for (MlaShape shape : kShapes) {
    for (const auto& [dtype, precise] : kCaches) {
      shape.precise = precise;
      for (const auto& [n_keys, n_queries] : std::vector<std::pair<int64_t, int64_t>>{{1, 1},
                                                                                      {2, 2},
                                                                                      {31, 31},
                                                                                      {33, 2},
                                                                                      {63, 63},
                                                                                      {64, 64},
                                                                                      {65, 65},
                                                                                      {65, 1},
                                                                                      {128, 70},
                                                                                      {511, 3},
                                                                                      {512, 1},
                                                                                      {512, 33},
                                                                                      {513, 2},
                                                                                      {576, 1},
                                                                                      {1100, 1},
                                                                                      {1100, 40}}) {
        const Pages pages(shape, n_keys, dtype, random);
        const LinearWeight kv_b =
            random.weight(shape.num_heads * shape.kv_head_rows(), shape.kv_lora_rank,
                          dtype == DType::kF32 ? dtype : DType::kBF16);
        Rows q = random.rows(n_queries, shape.num_heads * shape.qk_head_dim());
        const MlaSequence sequence = pages.sequence(0, n_queries);
        const Reference expected = reference(shape, q, decoded(kv_b), pages.latents(), sequence);
        for (const auto& [name, attention] : kForms) {
          Rows out(n_queries, shape.num_heads * shape.v_head_dim, NAN);
          attention(shape, q.matrix(), {kv_b}, std::span(&sequence, 1), out.matrix());
          expect_near(expected, out, 0,
                      fmt::format("{} {}{} heads {} keys {} queries {}", name, dtype_name(dtype),
                                  precise ? " precise" : "", shape.num_heads, n_keys, n_queries));
        }
      }
    }
  }
}

TEST(MlaAttentionTest, Fp8ProjectionWithBlocksThatCutHeadsAndRank) {
  Random random(2);
  const MlaShape shape{.num_heads = 5,
                       .qk_nope_head_dim = 17,
                       .qk_rope_head_dim = 6,
                       .v_head_dim = 13,
                       .kv_lora_rank = 150,
                       .softmax_scale = 0.2f};
  const LinearWeight kv_b =
      random.fp8_weight(shape.num_heads * shape.kv_head_rows(), shape.kv_lora_rank);
  const Pages pages(shape, 130, DType::kF32, random);
  Rows q = random.rows(66, shape.num_heads * shape.qk_head_dim());
  const MlaSequence sequence = pages.sequence(0, 66);
  const Reference expected = reference(shape, q, decoded(kv_b), pages.latents(), sequence);
  for (const auto& [name, attention] : kForms) {
    Rows out(66, shape.num_heads * shape.v_head_dim, NAN);
    attention(shape, q.matrix(), {kv_b}, std::span(&sequence, 1), out.matrix());
    expect_near(expected, out, 0, name);
  }
}

// GGUF's halves: W_UK of each head transposed, and W_UV.
LatentUpProjection split(const MlaShape& shape, const Rows& kv_b) {
  const int64_t rank = shape.kv_lora_rank, nope = shape.qk_nope_head_dim, v_dim = shape.v_head_dim;
  LatentUpProjection up;
  up.k_b_proj.weight = Tensor(DType::kF32, {shape.num_heads * rank, nope});
  up.v_b_proj.weight = Tensor(DType::kF32, {shape.num_heads * v_dim, rank});
  const std::span<float> k_b = up.k_b_proj.weight.as_mutable<float>();
  const std::span<float> v_b = up.v_b_proj.weight.as_mutable<float>();
  for (int64_t h = 0; h < shape.num_heads; ++h) {
    for (int64_t i = 0; i < shape.kv_head_rows(); ++i) {
      for (int64_t r = 0; r < rank; ++r) {
        const float x = kv_b.data[(h * shape.kv_head_rows() + i) * rank + r];
        if (i < nope) {
          k_b[(h * rank + r) * nope + i] = x;
        } else {
          v_b[(h * v_dim + i - nope) * rank + r] = x;
        }
      }
    }
  }
  return up;
}

TEST(MlaAttentionTest, ProjectionInTwoHalvesGivesTheSame) {
  Random random(5);
  const MlaShape& shape = kShapes[0];
  const LinearWeight kv_b =
      random.weight(shape.num_heads * shape.kv_head_rows(), shape.kv_lora_rank);
  const LatentUpProjection halves = split(shape, decoded(kv_b));
  const Pages pages(shape, 130, DType::kF32, random);
  for (const int64_t n_queries : {1, 66}) {
    Rows q = random.rows(n_queries, shape.num_heads * shape.qk_head_dim());
    const MlaSequence sequence = pages.sequence(0, n_queries);
    const Reference expected = reference(shape, q, decoded(kv_b), pages.latents(), sequence);
    for (const auto& [name, attention] : kForms) {
      Rows out(n_queries, shape.num_heads * shape.v_head_dim, NAN);
      attention(shape, q.matrix(), halves, std::span(&sequence, 1), out.matrix());
      expect_near(expected, out, 0, name);
    }
  }
}

TEST(MlaAttentionTest, HiddenKeysGetNoWeight) {
  Random random(3);
  const MlaShape& shape = kShapes[0];
  const LinearWeight kv_b =
      random.weight(shape.num_heads * shape.kv_head_rows(), shape.kv_lora_rank);
  const int64_t n_keys = 600, n_queries = 5;
  const Pages pages(shape, n_keys, DType::kF32, random);
  Rows q = random.rows(n_queries, shape.num_heads * shape.qk_head_dim());
  // Some keys, a whole tile, and the whole first split.
  for (const auto& [begin, end, step] :
       std::vector<std::array<int64_t, 3>>{{3, 590, 7}, {64, 128, 1}, {0, 540, 1}}) {
    std::vector<uint8_t> visible(n_keys, 1);
    for (int64_t j = begin; j < end; j += step) visible[j] = 0;
    std::vector<float> attentions(shape.num_heads * n_queries * n_keys, NAN);
    MlaSequence sequence = pages.sequence(0, n_queries);
    sequence.visible = visible.data();
    const Reference expected = reference(shape, q, decoded(kv_b), pages.latents(), sequence);
    for (const auto& [name, attention] : kForms) {
      Rows out(n_queries, shape.num_heads * shape.v_head_dim, NAN);
      attention(shape, q.matrix(), {kv_b}, std::span(&sequence, 1), out.matrix());
      expect_near(expected, out, 0, name);
      MlaSequence recorded = sequence;
      recorded.attentions = attentions.data();
      attention(shape, q.matrix(), {kv_b}, std::span(&recorded, 1), out.matrix());
      for (size_t i = 0; i < attentions.size(); ++i) {
        if (visible[i % n_keys] == 0) {
          ASSERT_EQ(attentions[i], 0.0f) << name;
        }
      }
    }
  }
}

TEST(MlaAttentionTest, AQueryThatSeesNothingGivesZeros) {
  Random random(4);
  const MlaShape& shape = kShapes[2];
  const LinearWeight kv_b =
      random.weight(shape.num_heads * shape.kv_head_rows(), shape.kv_lora_rank);
  const Pages pages(shape, 70, DType::kF32, random);
  const std::vector<uint8_t> visible(70, 0);
  MlaSequence sequence = pages.sequence(0, 2);
  sequence.visible = visible.data();
  Rows q = random.rows(2, shape.num_heads * shape.qk_head_dim());
  for (const auto& [name, attention] : kForms) {
    Rows out(2, shape.num_heads * shape.v_head_dim, NAN);
    attention(shape, q.matrix(), {kv_b}, std::span(&sequence, 1), out.matrix());
    for (const float x : out.data) EXPECT_EQ(x, 0.0f) << name;
  }
}

TEST(MlaAttentionTest, RecordedWeightsAreCausalSumToOneAndDoNotChangeTheResult) {
  Random random(5);
  for (const MlaShape& shape : kShapes) {
    const LinearWeight kv_b =
        random.weight(shape.num_heads * shape.kv_head_rows(), shape.kv_lora_rank);
    for (const auto& [n_keys, n_queries] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {65, 65}, {200, 100}, {600, 3}}) {
      const Pages pages(shape, n_keys, DType::kF32, random);
      Rows q = random.rows(n_queries, shape.num_heads * shape.qk_head_dim());
      const MlaSequence plain = pages.sequence(0, n_queries);
      const Reference expected = reference(shape, q, decoded(kv_b), pages.latents(), plain);
      for (const auto& [name, attention] : kForms) {
        std::vector<float> weights(shape.num_heads * n_queries * n_keys, NAN);
        MlaSequence recorded = plain;
        recorded.attentions = weights.data();
        Rows out(n_queries, shape.num_heads * shape.v_head_dim), out_recorded = out;
        attention(shape, q.matrix(), {kv_b}, std::span(&plain, 1), out.matrix());
        attention(shape, q.matrix(), {kv_b}, std::span(&recorded, 1), out_recorded.matrix());
        EXPECT_TRUE(same_bits(out.data, out_recorded.data)) << name;
        for (int64_t row = 0; row < shape.num_heads * n_queries; ++row) {
          const int64_t seen = n_keys - n_queries + row % n_queries + 1;
          double sum = 0;
          for (int64_t j = 0; j < n_keys; ++j) {
            const float w = weights[row * n_keys + j];
            ASSERT_NEAR(w, expected.attentions[row * n_keys + j], expected.attention_bound) << name;
            if (j >= seen) {
              ASSERT_EQ(w, 0.0f) << name;
            }
            sum += w;
          }
          ASSERT_NEAR(sum, 1, static_cast<double>(n_keys + 4) * kRounding) << name;
        }
      }
    }
  }
}

// One prompt computed by itself, for the tests of what must not change a bit.
struct Prompt {
  const MlaShape& shape;
  Pages pages;
  LinearWeight kv_b;
  Rows q;
  int64_t length;

  Prompt(const MlaShape& s, int64_t n, DType dtype, Random& random)
      : shape(s),
        pages(s, n, dtype, random),
        kv_b(random.weight(s.num_heads * s.kv_head_rows(), s.kv_lora_rank)),
        q(random.rows(n, s.num_heads * s.qk_head_dim())),
        length(n) {}

  std::vector<float> compute(const Attention& attention) {
    Rows out(length, shape.num_heads * shape.v_head_dim);
    const MlaSequence sequence = pages.sequence(0, length);
    attention(shape, q.matrix(), {kv_b}, std::span(&sequence, 1), out.matrix());
    return out.data;
  }
  std::vector<float> compute_in_chunks(const Attention& attention, int64_t chunk) {
    Rows out(length, shape.num_heads * shape.v_head_dim);
    for (int64_t begin = 0; begin < length; begin += chunk) {
      const int64_t end = std::min(length, begin + chunk);
      const MlaSequence sequence = pages.sequence(end, 0, end - begin);
      attention(shape, q.matrix().row_range(begin, end), {kv_b}, std::span(&sequence, 1),
                out.matrix().row_range(begin, end));
    }
    return out.data;
  }
};

TEST(MlaAttentionTest, ChunksOfAnySizeGiveTheSameBits) {
  Random random(6);
  for (MlaShape shape : kShapes) {
    for (const auto& [dtype, precise] : kCaches) {
      shape.precise = precise;
      // Past the first split with the smallest shape, past a page with the others.
      Prompt prompt(shape, shape.num_heads == 3 ? 530 : 140, dtype, random);
      for (const auto& [name, attention] : kForms) {
        const std::vector<float> whole = prompt.compute(attention);
        for (const int64_t chunk : {1, 9, 64, 65, 139, 512}) {
          EXPECT_TRUE(same_bits(prompt.compute_in_chunks(attention, chunk), whole))
              << name << " " << dtype_name(dtype) << " in chunks of " << chunk;
        }
      }
    }
  }
}

TEST(MlaAttentionTest, AnyNumberOfThreadsGivesTheSameBits) {
  Random random(7);
  for (const MlaShape& shape : kShapes) {
    Prompt prompt(shape, 600, DType::kF32, random);
    for (const auto& [name, attention] : kForms) {
      std::vector<float> whole, steps;
      for (const int threads : {1, 2, 3}) {
        const ThreadCount count(threads);
        const auto now = prompt.compute(attention),
                   now_steps = prompt.compute_in_chunks(attention, 20);
        if (threads == 1) whole = now, steps = now_steps;
        EXPECT_TRUE(same_bits(now, whole)) << name << ", " << threads << " threads";
        EXPECT_TRUE(same_bits(now_steps, steps)) << name << ", " << threads << " threads";
      }
    }
  }
}

TEST(MlaAttentionTest, NeighboursInTheBatchChangeNothing) {
  Random random(8);
  const MlaShape& shape = kShapes[0];
  const LinearWeight kv_b =
      random.weight(shape.num_heads * shape.kv_head_rows(), shape.kv_lora_rank);
  const std::vector<std::pair<int64_t, int64_t>> sizes = {
      {600, 1}, {40, 40}, {1, 1}, {130, 66}};  // keys, queries
  int64_t tokens = 3;                          // rows that belong to nobody
  std::vector<Pages> pages;
  std::vector<MlaSequence> sequences;
  pages.reserve(sizes.size());
  for (const auto& [n_keys, n_queries] : sizes) {
    pages.emplace_back(shape, n_keys, DType::kF32, random);
    sequences.push_back(pages.back().sequence(tokens, n_queries));
    tokens += n_queries;
  }
  std::reverse(sequences.begin(), sequences.end());
  Rows q = random.rows(tokens, shape.num_heads * shape.qk_head_dim());
  for (const auto& [name, attention] : kForms) {
    Rows together(tokens, shape.num_heads * shape.v_head_dim), alone = together;
    attention(shape, q.matrix(), {kv_b}, sequences, together.matrix());
    for (const MlaSequence& s : sequences)
      attention(shape, q.matrix(), {kv_b}, std::span(&s, 1), alone.matrix());
    EXPECT_TRUE(same_bits(together.data, alone.data)) << name;
  }
}

TEST(MlaAttentionTest, AutomaticFormComputesEachSequenceByItsOwnCheaperForm) {
  const MlaShape v3{.num_heads = 128,
                    .qk_nope_head_dim = 128,
                    .qk_rope_head_dim = 64,
                    .v_head_dim = 128,
                    .kv_lora_rank = 512};
  EXPECT_TRUE(absorbed_is_cheaper(v3, 1, 4096));
  EXPECT_FALSE(absorbed_is_cheaper(v3, 4096, 4096));

  Random random(9);
  const MlaShape shape{.num_heads = 2,
                       .qk_nope_head_dim = 8,
                       .qk_rope_head_dim = 4,
                       .v_head_dim = 8,
                       .kv_lora_rank = 48,
                       .softmax_scale = 0.3f};
  const LinearWeight kv_b =
      random.weight(shape.num_heads * shape.kv_head_rows(), shape.kv_lora_rank);
  const Pages decoding(shape, 300, DType::kF32, random), prompt(shape, 200, DType::kF32, random);
  const MlaSequence sequences[] = {decoding.sequence(0, 1), prompt.sequence(1, 200)};
  ASSERT_TRUE(absorbed_is_cheaper(shape, 1, 300));
  ASSERT_FALSE(absorbed_is_cheaper(shape, 200, 200));
  Rows q = random.rows(201, shape.num_heads * shape.qk_head_dim());
  Rows automatic(201, shape.num_heads * shape.v_head_dim), chosen = automatic;
  mla_attention(shape, MlaForm::kAuto, q.matrix(), {kv_b}, sequences, automatic.matrix());
  mla_attention_absorbed(shape, q.matrix(), {kv_b}, std::span(sequences, 1), chosen.matrix());
  mla_attention_expanded(shape, q.matrix(), {kv_b}, std::span(sequences + 1, 1), chosen.matrix());
  EXPECT_TRUE(same_bits(automatic.data, chosen.data));
}

// A NaN key would else be taken for a masked one, and a broken weight for silence.
TEST(MlaAttentionTest, NotANumberShowsInTheResult) {
  Random random(11);
  const MlaShape& shape = kShapes[2];
  const LinearWeight kv_b =
      random.weight(shape.num_heads * shape.kv_head_rows(), shape.kv_lora_rank);
  for (const int64_t n_keys : {1, 64, 600}) {
    const Pages pages(shape, n_keys, DType::kF32, random);
    const MlaSequence sequence = pages.sequence(0, 1);
    Rows q = random.rows(1, shape.num_heads * shape.qk_head_dim());
    for (int64_t h = 0; h < shape.num_heads; ++h) q.data[h * shape.qk_head_dim() + h] = NAN;
    for (const auto& [name, attention] : kForms) {
      Rows out(1, shape.num_heads * shape.v_head_dim);
      attention(shape, q.matrix(), {kv_b}, std::span(&sequence, 1), out.matrix());
      for (const float x : out.data)
        ASSERT_TRUE(std::isnan(x)) << name << ", " << n_keys << " keys";
    }
  }
}

TEST(MlaAttentionTest, LargeScoresDoNotOverflow) {
  Random random(10);
  const MlaShape& shape = kShapes[2];
  const LinearWeight kv_b =
      random.weight(shape.num_heads * shape.kv_head_rows(), shape.kv_lora_rank);
  const Pages pages(shape, 600, DType::kF32, random);
  Rows q = random.rows(3, shape.num_heads * shape.qk_head_dim(), 1e4f);
  const MlaSequence sequence = pages.sequence(0, 3);
  for (const auto& [name, attention] : kForms) {
    Rows out(3, shape.num_heads * shape.v_head_dim, NAN);
    attention(shape, q.matrix(), {kv_b}, std::span(&sequence, 1), out.matrix());
    for (const float x : out.data) ASSERT_TRUE(std::isfinite(x)) << name;
  }
}

}  // namespace
}  // namespace dsv3::ops
