#include "formats/block_format.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "dsv3/error.h"

namespace dsv3::formats {
namespace {

const std::string kGolden = DSV3_SOURCE_DIR "/tests/golden-formats/";

std::string golden(std::string_view name) { return read_file(kGolden + std::string(name)); }

std::vector<float> golden_floats(const std::string& name) {
  const std::string bytes = golden(name);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<uint8_t> encode(const BlockFormat& format, std::span<const float> x,
                            const float* importance = nullptr) {
  std::vector<uint8_t> blocks(x.size() / format.elements * format.bytes);
  format.encode(x.data(), static_cast<int64_t>(x.size()), importance, blocks.data());
  return blocks;
}

std::vector<float> decode(const BlockFormat& format, const std::vector<uint8_t>& blocks) {
  std::vector<float> values(blocks.size() / format.bytes * format.elements);
  format.decode(blocks.data(), static_cast<int64_t>(values.size()), values.data());
  return values;
}

std::vector<float> round_trip(const BlockFormat& format, std::span<const float> x,
                              const float* importance = nullptr) {
  return decode(format, encode(format, x, importance));
}

std::vector<float> normal_floats(int n, float scale, int seed = 1) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> x(n);
  for (float& v : x) v = normal(rng);
  return x;
}

// sqrt(sum w e^2 / sum w x^2)
template <class Weight>
double relative_error(std::span<const float> x, std::span<const float> y, Weight weight) {
  double e2 = 0, x2 = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double e = double{x[i]} - y[i];
    e2 += weight(i) * e * e;
    x2 += weight(i) * x[i] * x[i];
  }
  return std::sqrt(e2 / x2);
}
double relative_error(std::span<const float> x, std::span<const float> y) {
  return relative_error(x, y, [](size_t) { return 1.0; });
}

class BlockFormatTest : public testing::TestWithParam<DType> {
 protected:
  const BlockFormat& format = block_format(GetParam());
  const std::string name{dtype_name(GetParam())};
};

TEST_P(BlockFormatTest, DecodesGoldenBlocksBitForBit) {
  const std::string blocks = golden(name + ".blocks");
  const std::vector<float> expected = golden_floats(name + ".f32");
  ASSERT_EQ(blocks.size() / format.bytes * format.elements, expected.size());
  // At an odd address.
  const std::string unaligned = "x" + blocks;
  std::vector<float> found(expected.size());
  format.decode(unaligned.data() + 1, static_cast<int64_t>(found.size()), found.data());
  for (size_t i = 0; i < found.size(); ++i) {
    if (std::isnan(expected[i])) {
      ASSERT_TRUE(std::isnan(found[i])) << i;
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(found[i]), std::bit_cast<uint32_t>(expected[i]))
          << "element " << i << ": " << found[i] << ", expected " << expected[i];
    }
  }
}

TEST_P(BlockFormatTest, ErrorIsNoLargerThanGgmls) {
  const Json errors = parse_json(golden("ggml_errors.json"), "ggml_errors.json");
  const std::vector<float> importance = golden_floats("importance.f32");
  for (const std::string data : {"normal", "student"}) {
    const std::vector<float> x = golden_floats(data + ".f32");
    const std::vector<float> plain = round_trip(format, x);
    const std::vector<float> important = round_trip(format, x, importance.data());
    const Json& theirs = errors.at(data + "/" + name + "/plain");
    const double room = 1 + 1e-6;  // for what is the same but for the order of sums
    EXPECT_LE(relative_error(x, plain), theirs.at("error").get<double>() * room) << data;
    EXPECT_LE(relative_error(x, plain, [&](size_t i) { return std::fabs(x[i]); }),
              theirs.at("weighted").get<double>() * room)
        << data;
    EXPECT_LE(relative_error(x, important, [&](size_t i) { return importance[i]; }),
              errors.at(data + "/" + name + "/importance").at("weighted").get<double>() * room)
        << data;
  }
}

TEST_P(BlockFormatTest, ZerosStayZeros) {
  const std::vector<float> zeros(512, 0.0f), ones(512, 1.0f);
  EXPECT_EQ(round_trip(format, zeros), zeros);
  EXPECT_EQ(round_trip(format, zeros, ones.data()), zeros);
  EXPECT_EQ(round_trip(format, zeros, zeros.data()), zeros);
}

TEST_P(BlockFormatTest, ABlocksBytesDoNotDependOnItsNeighbours) {
  const std::vector<float> x = normal_floats(256 * 5, 1.0f);
  const std::vector<uint8_t> together = encode(format, x);
  for (int64_t i = 0; i < static_cast<int64_t>(x.size()); i += format.elements) {
    const std::vector<uint8_t> alone = encode(format, std::span(x).subspan(i, format.elements));
    const auto at = static_cast<std::ptrdiff_t>(i / format.elements * format.bytes);
    ASSERT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + at)) << i;
  }
}

// The scale of the whole makes no difference as long as float16 has room for the scales.
TEST_P(BlockFormatTest, ErrorDoesNotDependOnMagnitude) {
  const std::vector<float> x = normal_floats(1024, 1.0f);
  const double expected = relative_error(x, round_trip(format, x));
  for (const float scale : {3.7f, 1e-2f, 1e3f, 1.5e4f}) {
    std::vector<float> scaled;
    for (const float v : x) scaled.push_back(v * scale);
    EXPECT_NEAR(relative_error(scaled, round_trip(format, scaled)), expected, 0.05 * expected)
        << scale;
  }
}

// Where scales are subnormal float16 numbers, steps grow; errors stay below the step.
TEST_P(BlockFormatTest, TinyValuesRoundToFiniteNumbersNearThem) {
  for (const float scale : {1e-5f, 1e-6f, 1e-7f, 1e-8f, 1e-12f, 1e-30f, 1e-38f, 1e-42f}) {
    const std::vector<float> x = normal_floats(512, scale), ones(512, 1.0f);
    for (const float* importance : {static_cast<const float*>(nullptr), ones.data()}) {
      const std::vector<float> y = round_trip(format, x, importance);
      // ggml's rule for Q4_1 and Q5_1 rounds the least element to float16 whatever comes of it.
      const bool ggmls_rule = importance == nullptr && (name == "Q4_1" || name == "Q5_1");
      if (scale >= 1e-38f && !ggmls_rule) {
        EXPECT_LE(relative_error(x, y), 1.05) << scale << ": zeros are nearer";
      }
      for (size_t i = 0; i < x.size(); ++i) {
        ASSERT_TRUE(std::isfinite(y[i])) << scale;
        // 2^-24 is the smallest float16, IQ4_NL's largest code 127.
        ASSERT_LE(std::fabs(y[i] - x[i]), 3 * scale + 127 * 0x1p-24f) << scale;
      }
    }
  }
}

TEST_P(BlockFormatTest, LargestValuesStayFinite) {
  std::vector<float> x = normal_floats(256, 1.0f);
  const std::vector<float> ones(256, 1.0f);
  for (int pattern = 0; pattern < 4; ++pattern) {
    for (size_t i = 0; i < x.size(); ++i) {
      const bool negative = pattern == 1 || (pattern == 2 && i % 3 == 0) || (pattern == 3 && i > 5);
      x[i] = negative ? -kLargestEncodable : kLargestEncodable;
    }
    for (const float* importance : {static_cast<const float*>(nullptr), ones.data()}) {
      for (const float v : round_trip(format, x, importance)) {
        ASSERT_NEAR(std::fabs(v), kLargestEncodable, 0.4f * kLargestEncodable) << pattern;
      }
    }
  }
}

TEST_P(BlockFormatTest, RefusesWhatItCannotHold) {
  std::vector<float> x(512, 1.0f), importance(512, 1.0f);
  const auto message = [&](const float* weights) -> std::string {
    try {
      encode(format, x, weights);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message(importance.data()), "");
  for (const float bad : {65536.0f, -1e30f, std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    x[300] = bad;
    EXPECT_NE(message(nullptr).find("at element 300"), std::string::npos) << message(nullptr);
    EXPECT_NE(message(nullptr).find(name), std::string::npos) << message(nullptr);
  }
  x[300] = 1;
  for (const float bad :
       {-1.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    importance[7] = bad;
    EXPECT_NE(message(importance.data()).find("of element 7"), std::string::npos);
  }
}

TEST_P(BlockFormatTest, ImportantChannelsHaveSmallerErrors) {
  const std::vector<float> x = normal_floats(4096, 0.02f);
  std::vector<float> importance(4096);
  for (size_t i = 0; i < x.size(); ++i) importance[i] = i % 4 == 0 ? 100.0f : 0.0f;
  if (GetParam() == DType::kQ8_0) {  // takes no notice
    EXPECT_EQ(encode(format, x, importance.data()), encode(format, x));
    return;
  }
  const auto on_important = [](size_t i) { return i % 4 == 0 ? 1.0 : 0.0; };
  const double without = relative_error(x, round_trip(format, x), on_important);
  const double with = relative_error(x, round_trip(format, x, importance.data()), on_important);
  EXPECT_LT(with, 0.9 * without);
}

// ggml's encoders lose blocks whose scales of scales are zero in float16; ours take the smallest
// that is not.
TEST(BlockFormatsTest, TinyBlocksAreNotLost) {
  for (const auto& [dtype, worst] : {std::pair{DType::kQ6_K, 0.05},
                                     {DType::kQ5_K, 0.06},
                                     {DType::kQ4_K, 0.1},
                                     {DType::kIQ4_XS, 0.25},
                                     {DType::kQ3_K, 0.17},
                                     {DType::kQ2_K, 0.3}}) {
    const std::vector<float> x = normal_floats(4096, 1e-6f);
    EXPECT_LT(relative_error(x, round_trip(block_format(dtype), x)), worst) << dtype_name(dtype);
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, BlockFormatTest, testing::ValuesIn([] {
                           std::vector<DType> types;
                           for (const BlockFormat& f : block_formats()) types.push_back(f.dtype);
                           return types;
                         }()),
                         [](const auto& test) { return std::string(dtype_name(test.param)); });

// The formats that gguf-py has an encoder for.
TEST(BlockFormatsTest, EncodeGoldenValuesByteForByte) {
  const std::vector<float> x = golden_floats("encode.f32");
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1}) {
    const BlockFormat& format = block_format(dtype);
    const std::vector<uint8_t> found = encode(format, x);
    const std::string expected = golden(std::string(dtype_name(dtype)) + ".encoded");
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_EQ(found[i], static_cast<uint8_t>(expected[i]))
          << dtype_name(dtype) << ": byte " << i % format.bytes << " of block " << i / format.bytes;
    }
  }
}

TEST(BlockFormatsTest, EveryBlockTypeHasItsFormat) {
  for (int i = 0; i < kDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    if (is_block_format(dtype)) {
      const BlockFormat& format = block_format(dtype);
      EXPECT_EQ(format.dtype, dtype);
      EXPECT_EQ(format.elements, dtype_block(dtype).elements);
      EXPECT_EQ(format.bytes, dtype_block(dtype).bytes);
    } else {
      EXPECT_THROW(block_format(dtype), Error) << dtype_name(dtype);
    }
  }
}

}  // namespace
}  // namespace dsv3::formats
