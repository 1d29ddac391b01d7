// Every variant of the attention steps against plain loops in double.
#include "kernels/attention/attention.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>
#include <vector>

#include "formats/float_formats.h"
#include "kernels/variants.h"

namespace dsv3::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kRounding = std::numeric_limits<float>::epsilon() / 2;
constexpr int64_t kKeyCounts[] = {1, 2, 3, 15, 16, 17, 31, 63, 64};

// 64-byte aligned floats.
class Floats {
 public:
  explicit Floats(int64_t n, float value = 0)
      : n_(n), memory_(static_cast<float*>(std::aligned_alloc(64, (4 * n + 127) / 64 * 64))) {
    std::fill_n(memory_, n, value);
  }
  Floats(const Floats& o) : Floats(o.n_) { std::copy_n(o.memory_, n_, memory_); }
  Floats& operator=(const Floats&) = delete;
  ~Floats() { std::free(memory_); }
  float* get() const { return memory_; }
  float& operator[](int64_t i) const { return memory_[i]; }
  int64_t size() const { return n_; }

 private:
  int64_t n_;
  float* memory_;
};

class AttentionTest : public testing::Test {
 protected:
  ~AttentionTest() override { force_variant(""); }

  Floats random(int64_t n, float deviation = 1) {
    Floats x(n);
    std::normal_distribution<float> normal(0, deviation);
    for (int64_t i = 0; i < n; ++i) x[i] = normal(engine_);
    return x;
  }
  // The same numbers in bf16, and x rounded to them.
  static std::vector<uint16_t> rounded(Floats& x) {
    std::vector<uint16_t> bits(x.size());
    for (int64_t i = 0; i < x.size(); ++i) {
      bits[i] = formats::float_to_bf16(x[i]);
      x[i] = formats::bf16_to_float(bits[i]);
    }
    return bits;
  }
  static void expect_near(const Floats& found, const Floats& expected, double bound,
                          const std::string& what) {
    for (int64_t i = 0; i < found.size(); ++i) {
      if (found[i] == expected[i]) continue;  // infinities
      ASSERT_LE(std::fabs(double{found[i]} - expected[i]), bound)
          << what << ", element " << i << ": expected " << expected[i] << ", found " << found[i];
    }
  }

  std::mt19937 engine_{1};
};

TEST_F(AttentionTest, ScoresInFloat32) {
  for (const std::string& variant : testable_variants()) {
    force_variant(variant);
    for (const int64_t channels : {1, 2, 11, 41, 64, 576}) {
      for (const int64_t n : kKeyCounts) {
        const int64_t stride = channels + 3;
        const Floats keys = random(n * stride), q = random(channels * kLanes);
        for (const bool accumulate : {false, true}) {
          Floats s = random(n * kLanes), expected = s;
          scores_f32(keys.get(), stride, n, channels, q.get(), accumulate, nullptr, s.get());
          scores_ref(keys.get(), stride, n, channels, q.get(), accumulate, expected.get());
          expect_near(s, expected, 20 * static_cast<double>(channels + 1) * kRounding,
                      fmt::format("{} {} channels {} keys", variant, channels, n));
        }
      }
    }
  }
}

TEST_F(AttentionTest, ValuesInFloat32) {
  for (const std::string& variant : testable_variants()) {
    force_variant(variant);
    for (const int64_t channels : {1, 9, 16, 24, 33, 48, 512}) {
      const int64_t padded = (channels + kPanel - 1) / kPanel * kPanel;
      for (const int64_t n : kKeyCounts) {
        const Floats v = random(n * padded), p = random(n * kLanes), correction = random(kLanes);
        Floats o = random(padded * kLanes), expected = o;
        values_f32(p.get(), n, v.get(), padded, channels, correction.get(), o.get());
        values_ref(p.get(), n, v.get(), padded, padded, correction.get(), expected.get());
        for (int64_t r = 0; r < kLanes; ++r) {
          for (int64_t c = 0; c < channels; ++c) {
            const int64_t i = (c / kPanel * kLanes + r) * kPanel + c % kPanel;
            ASSERT_NEAR(o[i], expected[i], 20 * static_cast<double>(n + 1) * kRounding)
                << variant << ", " << channels << " channels, " << n << " keys, row " << r;
          }
        }
      }
    }
  }
}

TEST_F(AttentionTest, SoftmaxOfLanes) {
  for (const std::string& variant : testable_variants()) {
    force_variant(variant);
    for (const float deviation : {1.0f, 30.0f}) {
      for (const int64_t n : kKeyCounts) {
        Floats s = random(n * kLanes, deviation);
        Floats maximum = random(kLanes, deviation), sum(kLanes, 2), correction(kLanes);
        maximum[3] = -kInfinity, sum[3] = 0;  // a row that has seen nothing
        s[5] = -kInfinity;                    // a masked key
        for (int64_t k = 0; k < n; ++k) s[k * kLanes + 7] = -kInfinity;  // nothing but masked keys
        maximum[8] = -kInfinity, sum[8] = 0;
        for (int64_t k = 0; k < n; ++k) s[k * kLanes + 8] = -kInfinity;  // and nothing before
        Floats s2 = s, maximum2 = maximum, sum2 = sum, correction2 = correction;
        softmax_lanes(s.get(), n, maximum.get(), sum.get(), correction.get());
        softmax_lanes_ref(s2.get(), n, maximum2.get(), sum2.get(), correction2.get());
        const std::string what = fmt::format("{} {} keys", variant, n);
        // x - m is rounded before it is exponentiated.
        const double bound = (4 + 8 * deviation) * kRounding;
        expect_near(s, s2, bound, what);
        expect_near(correction, correction2, bound, what);
        expect_near(maximum, maximum2, 0, what);
        expect_near(sum, sum2, static_cast<double>(n + 2) * (bound + 64 * kRounding), what);
        EXPECT_EQ(s[7], 0.0f);
        EXPECT_EQ(correction[7], 1.0f);
        EXPECT_EQ(sum[8], 0.0f);
        EXPECT_EQ(maximum[8], -kInfinity);
      }
    }
  }
}

TEST_F(AttentionTest, SoftmaxShowsWhatIsNoNumber) {
  for (const std::string& variant : testable_variants()) {
    force_variant(variant);
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
      Floats s(2 * kLanes, 1), maximum(kLanes, -kInfinity), sum(kLanes), correction(kLanes);
      s[kLanes + 2] = bad;
      s[4] = s[kLanes + 4] = bad;
      softmax_lanes(s.get(), 2, maximum.get(), sum.get(), correction.get());
      for (int64_t r = 0; r < kLanes; ++r) {
        EXPECT_EQ(std::isnan(sum[r]), r == 2 || r == 4) << variant << ", row " << r;
        EXPECT_TRUE(std::isfinite(maximum[r])) << variant << ", row " << r;
      }
    }
  }
}

TEST_F(AttentionTest, MasksBySightAndByVisibility) {
  for (const std::string& variant : testable_variants()) {
    force_variant(variant);
    const int64_t n = 20;
    Floats s = random(n * kLanes);
    const Floats before = s;
    int64_t seen[kLanes];
    for (int64_t r = 0; r < kLanes; ++r) seen[r] = 2 * r - 3;
    std::vector<uint8_t> visible(n, 1);
    visible[2] = visible[11] = 0;
    scale_and_mask(s.get(), n, 0.5f, {seen, visible.data()});
    for (int64_t k = 0; k < n; ++k) {
      for (int64_t r = 0; r < kLanes; ++r) {
        const bool sees = k < seen[r] && visible[k] != 0;
        ASSERT_EQ(s[k * kLanes + r], sees ? 0.5f * before[k * kLanes + r] : -kInfinity) << variant;
      }
    }
  }
}

TEST_F(AttentionTest, MergingTwoHalvesIsTheWhole) {
  for (const std::string& variant : testable_variants()) {
    force_variant(variant);
    const int64_t n = 40, half = 17, channels = 64;
    const Floats scores = random(n * kLanes, 3), v = random(n * channels);
    struct State {
      Floats maximum{kLanes, -kInfinity}, sum{kLanes}, correction{kLanes}, o{channels * kLanes};
    };
    const auto run = [&](int64_t begin, int64_t end, State& state) {
      Floats s = scores;
      float* p = s.get() + begin * kLanes;
      softmax_lanes(p, end - begin, state.maximum.get(), state.sum.get(), state.correction.get());
      values_f32(p, end - begin, v.get() + begin * channels, channels, channels,
                 state.correction.get(), state.o.get());
    };
    State whole, first, second;
    run(0, n, whole);
    run(0, half, first);
    run(half, n, second);
    State merged;
    for (const State* part : {&first, &second}) {
      merge_lanes(part->maximum.get(), part->sum.get(), part->o.get(), channels,
                  merged.maximum.get(), merged.sum.get(), merged.o.get());
    }
    expect_near(merged.maximum, whole.maximum, 0, variant);
    expect_near(merged.sum, whole.sum, 1e-5, variant);
    expect_near(merged.o, whole.o, 1e-5, variant);
  }
}

TEST_F(AttentionTest, PacksRowsOfAnyLayout) {
  for (const int64_t channels : {1, 7, 32, 63, 70}) {
    for (const int64_t rows : {1, 5, 16}) {
      Floats in = random(channels * kLanes);
      for (const bool transposed : {false, true}) {
        const int64_t row_stride = transposed ? 1 : channels, col_stride = transposed ? kLanes : 1;
        const auto at = [&](int64_t r, int64_t c) {
          return r < rows && c < channels ? in[r * row_stride + c * col_stride] : 0.0f;
        };
        Floats q(channels * kLanes, NAN);
        pack_rows_f32(in.get(), row_stride, col_stride, rows, channels, q.get());
        for (int64_t c = 0; c < channels; ++c) {
          for (int64_t r = 0; r < kLanes; ++r) ASSERT_EQ(q[c * kLanes + r], at(r, c));
        }
        if (!has_attention_bf16()) continue;
        std::vector<uint32_t> pairs((channels + 1) / 2 * kLanes, 0xffffffff);
        pack_rows_bf16(in.get(), row_stride, col_stride, rows, channels, pairs.data());
        for (int64_t c = 0; c < channels; c += 2) {
          for (int64_t r = 0; r < kLanes; ++r) {
            const uint32_t expected = uint32_t{formats::float_to_bf16(at(r, c))} |
                                      uint32_t{formats::float_to_bf16(at(r, c + 1))} << 16;
            ASSERT_EQ(pairs[c / 2 * kLanes + r], expected) << "row " << r << ", channel " << c;
          }
        }
      }
    }
  }
}

// A test for each variant that there may be.
class AttentionVariants : public AttentionTest, public testing::WithParamInterface<std::string> {
 protected:
  void SetUp() override { force_variant(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Variants, AttentionVariants, testing::ValuesIn(testable_variants()),
                         [](const auto& variant) { return variant.param; });

TEST_P(AttentionVariants, ScoresInBf16OfSeveralGroups) {
  if (!has_attention_bf16()) GTEST_SKIP() << "no AVX-512 BF16";
  for (const int64_t channels : {2, 12, 42, 64, 576}) {
    for (const int64_t n : kKeyCounts) {
      for (const int64_t groups : {1, 2, 3}) {
        const int64_t stride = channels + 3, words = channels / 2 * kLanes;
        Floats keys = random((n + 15) / 16 * 16 * stride), q = random(groups * channels * kLanes);
        const std::vector<uint16_t> bits = rounded(keys);
        rounded(q);
        std::vector<uint32_t> packed(groups * words);
        for (int64_t g = 0; g < groups; ++g) {
          pack_rows_bf16(&q[g * channels * kLanes], 1, kLanes, kLanes, channels,
                         packed.data() + g * words);
        }
        for (const bool accumulate : {false, true}) {
          Floats s = random(groups * kTileKeys * kLanes), expected = s;
          scores_bf16(groups, bits.data(), stride, n, channels, packed.data(), words, accumulate,
                      nullptr, s.get());
          for (int64_t g = 0; g < groups; ++g) {
            const int64_t at = g * kTileKeys * kLanes, beyond = at + n * kLanes;
            scores_ref(keys.get(), stride, n, channels, &q[g * channels * kLanes], accumulate,
                       &expected[at]);
            std::copy_n(&s[beyond], (kTileKeys - n) * kLanes, &expected[beyond]);
          }
          expect_near(s, expected, 20 * static_cast<double>(channels + 1) * kRounding,
                      fmt::format("{} channels {} keys {} groups", channels, n, groups));
        }
      }
    }
  }
}

TEST_P(AttentionVariants, ValuesInBf16OfSeveralGroups) {
  if (!has_attention_bf16()) GTEST_SKIP() << "no AVX-512 BF16";
  for (const int64_t channels : {32, 96, 512}) {
    for (const int64_t n : kKeyCounts) {
      for (const int64_t groups : {1, 3}) {
        Floats v = random(n * channels), p = random(groups * n * kLanes);
        const Floats correction = random(groups * kLanes);
        const std::vector<uint16_t> bits = rounded(v);
        rounded(p);
        const int64_t words = kTileKeys / 2 * kLanes;
        std::vector<uint32_t> packed(groups * words);
        Floats o = random(groups * channels * kLanes), expected = o;
        for (int64_t g = 0; g < groups; ++g) {
          pack_weights_bf16(p.get() + g * n * kLanes, n, packed.data() + g * words);
          values_ref(p.get() + g * n * kLanes, n, v.get(), channels, channels,
                     correction.get() + g * kLanes, expected.get() + g * channels * kLanes);
        }
        values_bf16(groups, packed.data(), words, n, bits.data(), channels, channels,
                    correction.get(), o.get());
        expect_near(o, expected, 20 * static_cast<double>(n + 1) * kRounding,
                    fmt::format("{} channels {} keys {} groups", channels, n, groups));
      }
    }
  }
}

TEST_F(AttentionTest, CachedTokensComeBackWithinTheirRounding) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    for (const auto& [rank, rope] :
         std::vector<std::pair<int64_t, int64_t>>{{9, 2}, {33, 7}, {130, 8}, {512, 64}}) {
      const LatentLayout layout{.dtype = dtype, .rank = rank, .rope = rope};
      const Floats x = random(kPageTokens * layout.width());
      const Floats page((layout.page_bytes() + 3) / 4);
      for (int64_t t = 0; t < kPageTokens; ++t)
        store_latent(layout, page.get(), t, &x[t * layout.width()]);
      Floats back(x.size());
      decode_latents(layout, page.get(), kPageTokens, back.get(), layout.width());
      std::vector<uint16_t> back_bf16(x.size());
      if (dtype != DType::kF32 && has_attention_bf16()) {
        decode_latents_bf16(layout, page.get(), kPageTokens, back_bf16.data(), layout.width());
        for (int64_t i = 0; i < x.size(); ++i)
          ASSERT_EQ(back_bf16[i], formats::float_to_bf16(back[i])) << "element " << i;
      }
      for (int64_t i = 0; i < x.size(); ++i) {
        const int64_t t = i / layout.width(), c = i % layout.width();
        double bound = dtype == DType::kF32 ? 0 : std::fabs(x[i]) / 256;
        if (dtype == DType::kI8 && c < rank) {
          float largest = 0;
          const int64_t g = c / LatentLayout::kGroup * LatentLayout::kGroup;
          for (int64_t j = g; j < std::min(rank, g + LatentLayout::kGroup); ++j)
            largest = std::max(largest, std::fabs(x[t * layout.width() + j]));
          bound = largest / 254 * (1 + 1.0 / 100);  // the scale is rounded up
        }
        ASSERT_NEAR(back[i], x[i], bound)
            << dtype_name(dtype) << " token " << t << " channel " << c;
      }
    }
  }
}

struct CodedPages {
  LatentLayout layout;
  Floats latents;  // that the codes stand for, [2 pages][width]
  std::vector<Floats> pages;
  std::vector<const void*> pointers;

  CodedPages(int64_t rank, int64_t rope, const Floats& x)
      : layout{.dtype = DType::kI8, .rank = rank, .rope = rope}, latents(x.size()) {
    const int64_t width = layout.width();
    for (int64_t p = 0; p < kPagesI8; ++p) {
      pages.emplace_back((layout.page_bytes() + 3) / 4);
      for (int64_t t = 0; t < kPageTokens; ++t)
        store_latent(layout, pages[p].get(), t, &x[(p * kPageTokens + t) * width]);
      decode_latents(layout, pages[p].get(), kPageTokens, &latents[p * kPageTokens * width], width);
    }
    for (const Floats& page : pages) pointers.push_back(page.get());
  }
};
const std::pair<int64_t, int64_t> kRanks[] = {{9, 2}, {33, 7}, {130, 8}, {512, 64}};

// Against the latents that the codes stand for: queries lose what they are documented to lose.
TEST_P(AttentionVariants, ScoresIn8Bits) {
  for (const auto& [rank, rope] : kRanks) {
    const int64_t width = rank + rope, rows = 13;
    const CodedPages coded(rank, rope, random(kPagesI8 * kPageTokens * width));
    if (!has_attention_i8(coded.layout)) GTEST_SKIP() << "no AVX-512 VNNI and BF16";
    const Floats in = random(rows * width);
    Floats q(width * kLanes);
    pack_rows_f32(in.get(), width, 1, rows, width, q.get());
    std::vector<uint32_t> packed(packed_words_i8(coded.layout));
    pack_rows_i8(coded.layout, in.get(), width, rows, packed.data());
    for (const int64_t n : kKeyCounts) {
      Floats s(kTileKeys * kLanes, NAN), expected(n * kLanes);
      scores_i8(coded.layout, coded.pointers[0], n, packed.data(), coded.pointers[1], s.get());
      scores_ref(coded.latents.get(), width, n, width, q.get(), false, expected.get());
      for (int64_t k = 0; k < n; ++k) {
        double magnitude = 0;
        for (int64_t c = 0; c < width; ++c) magnitude += std::fabs(coded.latents[k * width + c]);
        for (int64_t r = 0; r < kLanes; ++r) {
          // Queries are below 5 here: half a step of 5 / 127, and bf16's rounding of the rest.
          ASSERT_NEAR(s[k * kLanes + r], expected[k * kLanes + r], magnitude * 2.5 / 127)
              << rank << " channels, " << n << " keys, key " << k << ", row " << r;
        }
      }
    }
  }
}

TEST_P(AttentionVariants, ValuesIn8Bits) {
  for (const auto& [rank, rope] : kRanks) {
    const int64_t width = rank + rope, groups = 6;
    const CodedPages coded(rank, rope, random(kPagesI8 * kPageTokens * width));
    if (!has_attention_i8(coded.layout)) GTEST_SKIP() << "no AVX-512 VNNI and BF16";
    const int64_t channels = coded.layout.code_stride(), tile = kPagesI8 * kTileKeys * kLanes;
    for (const int64_t n : {1, 2, 3, 15, 63, 64, 65, 66, 100, 127, 128}) {
      for (const bool adaptive : {false, true}) {
        Floats p(groups * tile), correction = random(groups * kLanes);
        for (int64_t i = 0; i < p.size(); ++i) {
          // Small rows among large ones, and groups whose weights are spread or not.
          p[i] = static_cast<float>(engine_() % 1000) / 1000 * (i % kLanes < 5 ? 1e-4f : 1.0f);
          if (i / tile % 2 == 1) p[i] = std::pow(p[i], 8.0f);
        }
        Floats o = random(groups * channels * kLanes), expected = o;
        values_i8(coded.layout, coded.pointers.data(), groups, p.get(), n, adaptive,
                  correction.get(), o.get());
        Floats v(n * channels);
        for (int64_t k = 0; k < n; ++k)
          std::copy_n(&coded.latents[k * width], rank, &v[k * channels]);
        for (int64_t g = 0; g < groups; ++g) {
          values_ref(p.get() + g * tile, n, v.get(), channels, channels,
                     correction.get() + g * kLanes, &expected[g * channels * kLanes]);
        }
        for (int64_t i = 0; i < o.size(); ++i) {
          // Half a unit of the row's largest weight for each key, times values below 5 whose scales
          // differ by less than a factor of 5; the sum of 8-bit codes is scaled to be right.
          const double largest = i / kPanel % kLanes < 5 ? 1e-4 : 1.0;
          const double bound =
              static_cast<double>(n) * largest * 5 * 5 / 2 / (adaptive ? 255 : 65535);
          ASSERT_NEAR(o[i], expected[i], bound + 1e-5)
              << rank << " channels, " << n << " keys, element " << i;
        }
      }
    }
  }
}

TEST_F(AttentionTest, TokenOfDeepSeekV3Takes648BytesIn8Bits) {
  EXPECT_EQ((LatentLayout{.dtype = DType::kI8, .rank = 512, .rope = 64}).page_bytes(), 648 * 64);
  EXPECT_EQ((LatentLayout{.dtype = DType::kBF16, .rank = 512, .rope = 64}).page_bytes(), 1152 * 64);
}

}  // namespace
}  // namespace dsv3::kernels
