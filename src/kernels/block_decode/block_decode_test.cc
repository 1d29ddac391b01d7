#include "kernels/block_decode/block_decode.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "dsv3/error.h"
#include "formats/block_format.h"
#include "kernels/variants.h"

namespace dsv3::kernels {
namespace {

class BlockDecodeTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_variant(GetParam()); }
  void TearDown() override { force_variant("auto"); }
};

// Random bytes are blocks with scales of all kinds: subnormal, negative, infinite, NaN.
TEST_P(BlockDecodeTest, GivesTheBitsOfTheDefinition) {
  std::mt19937 rng(11);
  for (const formats::BlockFormat& format : formats::block_formats()) {
    const int64_t blocks = 2048 / format.elements * 32;
    std::vector<uint8_t> bytes(blocks * format.bytes + 1);
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(rng());
    const int64_t n = blocks * format.elements;
    std::vector<float> expected(n), found(n + 1, -1);
    format.decode(bytes.data() + 1, n, expected.data());
    decode_blocks(format.dtype, bytes.data() + 1, n, found.data());  // aligned to nothing
    for (int64_t i = 0; i < n; ++i) {
      if (std::isnan(expected[i])) {
        ASSERT_TRUE(std::isnan(found[i])) << dtype_name(format.dtype) << " " << i;
      } else {
        ASSERT_EQ(std::bit_cast<uint32_t>(found[i]), std::bit_cast<uint32_t>(expected[i]))
            << dtype_name(format.dtype) << " element " << i << ": " << found[i] << ", expected "
            << expected[i];
      }
    }
    EXPECT_EQ(found[n], -1) << "wrote beyond the blocks";
  }
}

TEST_P(BlockDecodeTest, NoBlocksAreNoElements) {
  decode_blocks(DType::kQ4_K, nullptr, 0, nullptr);
  EXPECT_THROW(decode_blocks(DType::kBF16, nullptr, 0, nullptr), Error);
}

// The encoders are compiled for each instruction set, too; the formats' own tests cannot choose
// one.
TEST_P(BlockDecodeTest, EncodersGiveTheSameBytesOnEveryVariant) {
  std::mt19937 rng(12);
  std::student_t_distribution<float> student(3);
  std::vector<float> x(2048), importance(2048);
  for (float& v : x) v = 0.02f * student(rng);
  for (float& v : importance) v = std::fabs(student(rng));
  for (const formats::BlockFormat& format : formats::block_formats()) {
    for (const float* weights :
         {static_cast<const float*>(nullptr), static_cast<const float*>(importance.data())}) {
      std::vector<uint8_t> expected(2048 / format.elements * format.bytes), found(expected.size());
      format.encode(x.data(), 2048, weights, found.data());
      force_variant(available_variants().back());
      format.encode(x.data(), 2048, weights, expected.data());
      force_variant(GetParam());
      EXPECT_EQ(found, expected) << dtype_name(format.dtype);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, BlockDecodeTest, testing::ValuesIn(available_variants()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace dsv3::kernels
