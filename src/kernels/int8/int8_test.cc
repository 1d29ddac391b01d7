#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "formats/block_format.h"
#include "kernels/int8/int8_dot.h"
#include "kernels/variants.h"

namespace dsv3::kernels {
namespace {

std::vector<float> random_row(int64_t n, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

class Int8 : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_variant(GetParam()); }
  void TearDown() override { force_variant(""); }
  std::mt19937 random_{7};
};
INSTANTIATE_TEST_SUITE_P(Variants, Int8, testing::ValuesIn(available_variants()),
                         [](const auto& variant) { return variant.param; });

TEST_P(Int8, RoundsAsTheReference) {
  for (const int64_t n : {32, 64, 224, 256, 288, 1000, 7168}) {
    const std::vector<float> x = random_row(n, random_);
    std::vector<Int8Chunk> expected(int8_chunks(n)), found(int8_chunks(n));
    quantize_int8_channels_ref(x.data(), 0, n, expected.data());
    quantize_int8(x.data(), n, found.data());
    for (size_t c = 0; c < expected.size(); ++c) {
      for (int i = 0; i < 256; ++i)
        ASSERT_EQ(found[c].codes[i], expected[c].codes[i]) << n << ", " << c << ", " << i;
      for (int g = 0; g < 16; ++g) {
        ASSERT_EQ(found[c].scale[g], expected[c].scale[g]);
        ASSERT_EQ(found[c].sum[g], expected[c].sum[g]);
      }
    }
  }
}

TEST_P(Int8, RoundingErrorIsHalfAStep) {
  const std::vector<float> x = random_row(512, random_);
  std::vector<Int8Chunk> chunks(2);
  quantize_int8(x.data(), 512, chunks.data());
  for (int i = 0; i < 512; ++i) {
    const float scale = chunks[i / 256].scale[i % 256 / 16];
    EXPECT_LE(std::fabs(static_cast<float>(chunks[i / 256].codes[i % 256]) * scale - x[i]),
              0.5001f * scale);
  }
}

TEST_P(Int8, WhatIsNotFiniteShows) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> x = random_row(256, random_);
    x[70] = bad;
    Int8Chunk chunk;
    quantize_int8(x.data(), 256, &chunk);
    EXPECT_TRUE(std::isnan(chunk.scale[4]) && std::isnan(chunk.sum[5]));
    EXPECT_TRUE(std::isfinite(chunk.scale[3]));
  }
}

TEST_P(Int8, ZerosAndTinyNumbers) {
  std::vector<float> x(256, 0.0f);
  x[40] = 1e-44f;
  x[100] = 1e-30f;
  Int8Chunk chunk;
  quantize_int8(x.data(), 256, &chunk);
  EXPECT_EQ(chunk.scale[0], 0.0f);
  for (int g = 0; g < 16; ++g) EXPECT_TRUE(std::isfinite(chunk.sum[g]));
  EXPECT_EQ(chunk.codes[100], 127);
}

// Blocks with every bit random but for the float16 scales, which are made finite and small.
TEST_P(Int8, ProductsOfEachFormat) {
  for (const formats::BlockFormat& format : formats::block_formats()) {
    for (const int64_t cols : {256, 512, 1024, 32, 96, 288}) {
      if (cols % format.elements != 0) continue;
      for (const int64_t m : {1, 2, 3, 4, 5, 7, 8, 9, 17}) {
        const int64_t rows = 5;
        std::vector<float> values = random_row(rows * cols, random_);
        std::vector<uint8_t> blocks(dtype_bytes(format.dtype, rows * cols));
        format.encode(values.data(), rows * cols, nullptr, blocks.data());
        const WeightView w{.format = format.dtype,
                           .data = blocks.data(),
                           .rows = rows,
                           .cols = cols,
                           .row_stride = cols};
        std::vector<Int8Chunk> chunks((m + 2) * int8_chunks(cols));
        std::vector<int32_t> index(m);
        for (int64_t i = 0; i < m + 2; ++i) {
          const std::vector<float> x = random_row(cols, random_);
          quantize_int8(x.data(), cols, chunks.data() + i * int8_chunks(cols));
          if (i < m) index[i] = static_cast<int32_t>(m + 1 - i);
        }
        const int64_t ldc = rows + 3;
        std::vector<float> expected(m * ldc, -1.0f), found(m * ldc, -1.0f);
        const Int8Rows a{chunks.data(), index.data()};
        gemm_nt_int8_ref(m, a, w, expected.data(), ldc);
        gemm_nt_int8(m, a, w, found.data(), ldc);
        for (int64_t i = 0; i < m * ldc; ++i) {
          ASSERT_NEAR(found[i], expected[i], 1e-5 * std::sqrt(static_cast<double>(cols)) * 10)
              << dtype_name(format.dtype) << ", " << cols << " columns, " << m << " rows, element "
              << i;
        }
      }
    }
  }
}

// The largest codes of weights and activations: no sum of products may saturate.
TEST_P(Int8, ExtremeCodes) {
  for (const formats::BlockFormat& format : formats::block_formats()) {
    const int64_t cols = 512;
    std::vector<uint8_t> blocks(dtype_bytes(format.dtype, cols));
    for (const float sign : {1.0f, -1.0f}) {
      std::vector<float> values(cols);
      for (int64_t i = 0; i < cols; ++i) values[i] = sign * (i % 3 == 2 ? -1.0f : 1.0f);
      format.encode(values.data(), cols, nullptr, blocks.data());
      const WeightView w{.format = format.dtype,
                         .data = blocks.data(),
                         .rows = 1,
                         .cols = cols,
                         .row_stride = cols};
      std::vector<Int8Chunk> chunks(int8_chunks(cols));
      quantize_int8(values.data(), cols, chunks.data());
      float expected, found;
      gemm_nt_int8_ref(1, {chunks.data()}, w, &expected, 1);
      gemm_nt_int8(1, {chunks.data()}, w, &found, 1);
      EXPECT_NEAR(found, expected, 1e-3) << dtype_name(format.dtype);
    }
  }
}

}  // namespace
}  // namespace dsv3::kernels
