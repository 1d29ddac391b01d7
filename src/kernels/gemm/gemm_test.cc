#include "kernels/gemm/gemm.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "formats/block_format.h"
#include "formats/float_formats.h"
#include "kernels/variants.h"

namespace dsv3::kernels {
namespace {

// The least whole number of blocks that has so many elements.
int64_t whole_blocks(DType format, int64_t elements) {
  const int64_t block = dtype_block(format).elements;
  return (elements + block - 1) / block * block;
}

void store(DType format, float x, std::byte* at) {
  if (format == DType::kF32) {
    std::memcpy(at, &x, 4);
  } else if (format == DType::kF8E4M3) {
    *at = static_cast<std::byte>(formats::float_to_e4m3(x * 30));
  } else {
    const uint16_t half =
        format == DType::kF16 ? formats::float_to_f16(x) : formats::float_to_bf16(x);
    std::memcpy(at, &half, 2);
  }
}

// A random matrix in a format, at an address that is aligned to nothing but its elements, or for
// block formats not even to that. These have whole blocks of columns: view.cols may be more than
// asked for.
struct RandomWeight {
  std::vector<std::byte> bytes;
  std::vector<float> scales;
  WeightView view;

  RandomWeight(DType format, int64_t rows, int64_t cols, int64_t block, std::mt19937& rng) {
    cols = whole_blocks(format, cols);
    view.format = format;
    view.rows = rows;
    view.cols = cols;
    view.row_stride = whole_blocks(format, cols + 3);
    const int64_t count = rows * view.row_stride;
    std::normal_distribution<float> normal;
    std::vector<float> values(count);
    for (float& v : values) v = normal(rng);
    if (is_block_format(format)) {
      bytes.resize(1 + dtype_bytes(format, count));
      view.data = bytes.data() + 1;
      formats::block_format(format).encode(values.data(), count, nullptr, bytes.data() + 1);
      return;
    }
    bytes.resize((1 + count) * dtype_size(format));
    view.data = bytes.data() + dtype_size(format);
    for (int64_t i = 0; i < count; ++i) {
      store(format, values[i], bytes.data() + (1 + i) * dtype_size(format));
    }
    if (format == DType::kF8E4M3) {
      view.block_rows = view.block_cols = block;
      view.scale_stride = (cols + block - 1) / block;
      scales.resize((rows + block - 1) / block * view.scale_stride);
      for (float& s : scales) s = 0.01f + std::fabs(normal(rng)) * 0.02f;
      view.scale = scales.data();
    }
  }
};

// All that weights may have.
const std::vector<DType> kFormats = [] {
  std::vector<DType> formats = {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3};
  for (const formats::BlockFormat& f : formats::block_formats()) formats.push_back(f.dtype);
  return formats;
}();

std::vector<float> random_floats(int64_t n, std::mt19937& rng) {
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& v : values) v = normal(rng);
  return values;
}

// Bound of the rounding of a float32 sum of `terms` products, by the sum of their magnitudes.
float bound(double magnitude, int64_t terms) {
  return static_cast<float>((magnitude + 1e-30) * 0x1p-24 *
                            (4 + std::sqrt(static_cast<double>(terms))));
}

class GemmTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_variant(GetParam()); }
  void TearDown() override { force_variant("auto"); }
};

TEST_P(GemmTest, NtEqualsReference) {
  std::mt19937 rng(7);
  for (const DType format : kFormats) {
    for (const auto& [m, n, least] : std::vector<std::array<int64_t, 3>>{{0, 3, 5},
                                                                         {1, 1, 1},
                                                                         {1, 9, 16},
                                                                         {2, 17, 31},
                                                                         {3, 8, 129},
                                                                         {5, 33, 200},
                                                                         {9, 40, 300},
                                                                         {12, 5, 7},
                                                                         {21, 18, 576}}) {
      RandomWeight w(format, n, least, least > 64 ? 128 : 16, rng);
      const int64_t k = w.view.cols;
      const int64_t stride = k + 5;
      const auto a = random_floats((m + 1) * stride, rng);
      std::vector<int32_t> rows(m);
      for (int64_t i = 0; i < m; ++i) rows[i] = static_cast<int32_t>((i * 5 + 1) % (m + 1));
      const ActivationRows activations{a.data(), stride, rows.data()};
      std::vector<float> found(m * (n + 2), -1), expected(m * (n + 2), -1);
      gemm_nt(m, activations, w.view, found.data(), n + 2);
      gemm_nt_ref(m, activations, w.view, expected.data(), n + 2);
      std::vector<float> decoded(n * k);
      decode_ref(w.view, decoded.data(), k);
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          double magnitude = 0;
          for (int64_t t = 0; t < k; ++t)
            magnitude += std::fabs(a[rows[i] * stride + t] * decoded[j * k + t]);
          ASSERT_NEAR(found[i * (n + 2) + j], expected[i * (n + 2) + j], bound(magnitude, k))
              << "format " << int(format) << " m " << m << " n " << n << " k " << k << " at " << i
              << "," << j;
        }
        ASSERT_EQ(found[i * (n + 2) + n], -1) << "wrote beyond a row";
      }
    }
  }
}

TEST_P(GemmTest, NnEqualsReference) {
  std::mt19937 rng(8);
  for (const DType format : kFormats) {
    for (const auto& [m, k, least] : std::vector<std::array<int64_t, 3>>{{1, 1, 1},
                                                                         {1, 16, 40},
                                                                         {2, 7, 31},
                                                                         {4, 64, 129},
                                                                         {5, 20, 200},
                                                                         {9, 3, 65},
                                                                         {3, 0, 20}}) {
      for (const bool accumulate : {false, true}) {
        RandomWeight w(format, k, least, 16, rng);
        const int64_t n = w.view.cols;
        const auto a = random_floats(m * (k + 1), rng);
        std::vector<float> found = random_floats(m * n, rng);
        std::vector<float> expected = found;
        const ActivationRows activations{a.data(), k + 1, nullptr};
        gemm_nn(m, activations, w.view, found.data(), n, accumulate);
        gemm_nn_ref(m, activations, w.view, expected.data(), n, accumulate);
        for (int64_t i = 0; i < m * n; ++i)
          ASSERT_NEAR(found[i], expected[i], 1e-5f * (1 + k)) << i;
      }
    }
  }
}

TEST_P(GemmTest, DecodeIsExact) {
  std::mt19937 rng(9);
  for (const DType format : kFormats) {
    for (const int64_t block : {16, 128, 10}) {
      RandomWeight w(format, 37, 150, block, rng);
      const WeightView part = w.view.slice_rows(5, 31);
      const int64_t ld = w.view.cols + 10;
      std::vector<float> found(26 * ld), expected(26 * ld);
      decode(part, found.data(), ld);
      decode_ref(part, expected.data(), ld);
      EXPECT_EQ(found, expected);
    }
  }
}

TEST_P(GemmTest, EveryE4M3CodeDecodesAndNanStaysNan) {
  std::vector<uint8_t> codes(256);
  for (int i = 0; i < 256; ++i) codes[i] = static_cast<uint8_t>(i);
  const float scale[2] = {1.0f, 0.5f};
  const WeightView w{DType::kF8E4M3, codes.data(), 1, 256, 256, scale, 2, 128, 128, 0};
  std::vector<float> found(256);
  decode(w, found.data(), 256);
  for (int i = 0; i < 256; ++i) {
    const float expected = formats::e4m3_to_float(static_cast<uint8_t>(i)) * scale[i / 128];
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(found[i])) << i;
    } else {
      EXPECT_EQ(found[i], expected) << i;
    }
  }
}

// What makes a token's logits independent of its neighbours in the batch.
TEST_P(GemmTest, ARowsResultDoesNotDependOnTheOtherRows) {
  std::mt19937 rng(10);
  for (const DType format : kFormats) {
    RandomWeight w(format, 45, 333, 128, rng);
    const int64_t k = w.view.cols;
    const auto a = random_floats(20 * k, rng);
    std::vector<float> together(20 * 45), alone(45);
    gemm_nt(20, {a.data(), k, nullptr}, w.view, together.data(), 45);
    std::vector<float> together_nn(20 * k), alone_nn(k);
    gemm_nn(20, {a.data(), k, nullptr}, w.view, together_nn.data(), k, false);
    for (int i = 0; i < 20; ++i) {
      const ActivationRows row{a.data() + i * k, k, nullptr};
      gemm_nt(1, row, w.view, alone.data(), 45);
      EXPECT_EQ(0, std::memcmp(alone.data(), together.data() + i * 45, 45 * sizeof(float)));
      gemm_nn(1, row, w.view, alone_nn.data(), k, false);
      EXPECT_EQ(0, std::memcmp(alone_nn.data(), together_nn.data() + i * k, k * sizeof(float)));
      for (int n = 0; n < 45; n += 7) {
        gemm_nt(1, row, w.view.slice_rows(n, n + 1), alone.data(), 1);
        EXPECT_EQ(alone[0], together[i * 45 + n]);
      }
    }
  }
}

TEST_P(GemmTest, NanAndInfinityAreNotLost) {
  std::vector<float> a(40, 1.0f), w(40, 1.0f);
  w[39] = std::numeric_limits<float>::quiet_NaN();
  float c = 0;
  gemm_nt(1, {a.data(), 40, nullptr}, f32_view(w.data(), 1, 40, 40), &c, 1);
  EXPECT_TRUE(std::isnan(c));
  w[39] = std::numeric_limits<float>::infinity();
  gemm_nt(1, {a.data(), 40, nullptr}, f32_view(w.data(), 1, 40, 40), &c, 1);
  EXPECT_EQ(c, std::numeric_limits<float>::infinity());
}

INSTANTIATE_TEST_SUITE_P(Variants, GemmTest, testing::ValuesIn(available_variants()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace dsv3::kernels
