#include "formats/float_formats.h"

#include <gtest/gtest.h>

#include <random>

namespace dsv3::formats {
namespace {

TEST(E4M3Test, EveryCodeSurvivesARoundTrip) {
  for (int code = 0; code < 256; ++code) {
    const float value = e4m3_to_float(static_cast<uint8_t>(code));
    if ((code & 0x7F) == 0x7F) {
      EXPECT_TRUE(std::isnan(value));
      EXPECT_TRUE(std::isnan(e4m3_to_float(float_to_e4m3(value))));
    } else {
      EXPECT_EQ(float_to_e4m3(value), code) << value;
    }
  }
}

TEST(E4M3Test, KnownValues) {
  EXPECT_EQ(e4m3_to_float(0x7E), 448.0f);
  EXPECT_EQ(e4m3_to_float(0x38), 1.0f);
  EXPECT_EQ(e4m3_to_float(0x01), 0x1p-9f);
  EXPECT_EQ(e4m3_to_float(0x08), 0x1p-6f);
  EXPECT_EQ(e4m3_to_float(0xB9), -1.125f);
}

TEST(E4M3Test, RoundsToNearestTiesToEven) {
  EXPECT_EQ(float_to_e4m3(1.0625f), 0x38);    // halfway between 1 and 1.125
  EXPECT_EQ(float_to_e4m3(1.1875f), 0x3A);    // halfway between 1.125 and 1.25
  EXPECT_EQ(float_to_e4m3(0x1.8p-9f), 0x02);  // halfway between 1 and 2 subnormal units
  EXPECT_EQ(float_to_e4m3(0x1p-10f), 0x00);   // halfway between 0 and 1 unit
  EXPECT_EQ(float_to_e4m3(0x1.fp-7f), 0x08);  // 7.75 units round up into the normals
  EXPECT_EQ(float_to_e4m3(1e9f), 0x7E);       // saturates
  EXPECT_EQ(float_to_e4m3(-std::numeric_limits<float>::infinity()), 0xFE);
}

TEST(E4M3Test, EncodingPicksTheNearestCode) {
  std::mt19937 rng(1);
  std::uniform_real_distribution<float> uniform(-460.0f, 460.0f);
  for (int i = 0; i < 20000; ++i) {
    const float x = uniform(rng) * std::exp2(-static_cast<float>(i % 18));
    const float found = e4m3_to_float(float_to_e4m3(x));
    for (int code = 0; code < 256; ++code) {
      const float other = e4m3_to_float(static_cast<uint8_t>(code));
      if (!std::isnan(other)) {
        ASSERT_LE(std::fabs(found - x), std::fabs(other - x)) << x;
      }
    }
  }
}

TEST(F16Test, EveryCodeSurvivesARoundTrip) {
  for (int code = 0; code < 65536; ++code) {
    const float value = f16_to_float(static_cast<uint16_t>(code));
    if (std::isnan(value)) continue;
    EXPECT_EQ(float_to_f16(value), code);
  }
  EXPECT_EQ(f16_to_float(0x3C01), 1.0009765625f);
  EXPECT_EQ(f16_to_float(0x0001), 0x1p-24f);
  EXPECT_EQ(float_to_f16(65519.0f), 0x7BFF);
  EXPECT_EQ(float_to_f16(65520.0f), 0x7C00);
}

TEST(Bf16Test, EveryCodeSurvivesARoundTrip) {
  for (int code = 0; code < 65536; ++code) {
    const float value = bf16_to_float(static_cast<uint16_t>(code));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(value))));
    } else {
      EXPECT_EQ(float_to_bf16(value), code);
    }
  }
  EXPECT_EQ(float_to_bf16(1.00390625f), 0x3F80);  // a tie goes to the even mantissa
  EXPECT_EQ(float_to_bf16(1.01171875f), 0x3F82);
}

TEST(E8M0Test, IsAPowerOfTwo) {
  EXPECT_EQ(e8m0_to_float(127), 1.0f);
  EXPECT_EQ(e8m0_to_float(117), 0x1p-10f);
  EXPECT_EQ(e8m0_to_float(0), 0x1p-127f);
  EXPECT_TRUE(std::isnan(e8m0_to_float(255)));
}

}  // namespace
}  // namespace dsv3::formats
