#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "formats/block_format.h"
#include "formats/float_formats.h"
#include "kernels/gemm/gemm.h"
#include "kernels/packed/packed_rows.h"
#include "kernels/packed/panel_products.h"
#include "kernels/variants.h"

namespace dsv3::kernels {
namespace {

std::vector<float> random_values(int64_t n, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

float rounded(float x) { return formats::bf16_to_float(formats::float_to_bf16(x)); }

// Weights of a format with their memory.
struct Weights {
  std::vector<uint8_t> bytes;
  std::vector<float> scales;
  WeightView view;
};

Weights random_weights(DType format, int64_t rows, int64_t cols, std::mt19937& random) {
  Weights w;
  const std::vector<float> values = random_values(rows * cols, random);
  w.view = {.format = format, .rows = rows, .cols = cols, .row_stride = cols};
  w.bytes.resize(dtype_bytes(format, rows * cols));
  if (is_block_format(format)) {
    formats::block_format(format).encode(values.data(), rows * cols, nullptr, w.bytes.data());
  } else if (format == DType::kBF16) {
    auto* to = reinterpret_cast<uint16_t*>(w.bytes.data());
    for (int64_t i = 0; i < rows * cols; ++i) to[i] = formats::float_to_bf16(values[i]);
  } else {
    for (uint8_t& byte : w.bytes) byte = static_cast<uint8_t>(random() % 0x70 | (random() & 0x80));
    w.view.block_rows = 16;
    w.view.block_cols = 64;
    w.view.scale_stride = (cols + 63) / 64;
    w.scales.resize((rows + 15) / 16 * w.view.scale_stride);
    for (float& s : w.scales) s = 1e-2f * static_cast<float>(1 + random() % 7);
    w.view.scale = w.scales.data();
  }
  w.view.data = w.bytes.data();
  return w;
}

bool is_bf16(RowForm form) { return form == RowForm::kBF16Panels || form == RowForm::kBF16Rows; }

// C as the form of the rows has it: rounded rows times (for bfloat16 panels: rounded) weights.
std::vector<float> expected(RowForm form, int64_t m, const std::vector<float>& x,
                            const Weights& w) {
  const int64_t n = w.view.rows, k = w.view.cols;
  std::vector<float> weights(n * k), c(m * n);
  decode_ref(w.view, weights.data(), k);
  for (int64_t i = 0; i < m; ++i) {
    std::vector<float> row(x.begin() + i * k, x.begin() + (i + 1) * k);
    if (is_bf16(form)) {
      for (float& v : row) v = rounded(v);
    } else if (form != RowForm::kF32Panels) {
      std::vector<Int8Chunk> chunks(int8_chunks(k));
      quantize_int8_channels_ref(row.data(), 0, k, chunks.data());
      for (int64_t q = 0; q < k; ++q)
        row[q] = chunks[q / 256].codes[q % 256] * chunks[q / 256].scale[q % 256 / 16];
    }
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t q = 0; q < k; ++q) {
        const float weight = weights[j * k + q];
        sum += double{form == RowForm::kBF16Panels ? rounded(weight) : weight} * row[q];
      }
      c[i * n + j] = static_cast<float>(sum);
    }
  }
  return c;
}

void check(RowForm form, DType format, int64_t m, int64_t n, int64_t k, std::mt19937& random) {
  const Weights w = random_weights(format, n, k, random);
  const std::vector<float> x = random_values(m * k, random);
  // Memory of another product, which padding must not let through.
  std::vector<float> packed(packed_bytes(form, m, k) / 4 + 64, NAN);
  auto* at = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(packed.data()) + 63) / 64 * 64);
  clear_padding(form, m, k, at);
  for (int64_t i = 0; i < m; ++i) {
    // In two parts, as a caller may.
    const int64_t first = k / 64 * 32;
    pack_channels(form, k, i, 0, first, x.data() + i * k, at);
    pack_channels(form, k, i, first, k - first, x.data() + i * k + first, at);
  }
  const int64_t ldc = n + 3;
  std::vector<float> c(m * ldc, -7.0f);
  gemm_nt_packed(form, m, at, nullptr, w.view, c.data(), ldc);
  const std::vector<float> reference = expected(form, m, x, w);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < ldc; ++j) {
      if (j >= n) {
        ASSERT_EQ(c[i * ldc + j], -7.0f) << "written beyond the row's end";
      } else {
        ASSERT_NEAR(
            c[i * ldc + j], reference[i * n + j],
            2e-5 * std::sqrt(static_cast<double>(k)) * 8 + 1e-6 * std::fabs(reference[i * n + j]))
            << dtype_name(format) << ": [" << m << ", " << k << "] x [" << n << ", " << k << "] at "
            << i << ", " << j;
      }
    }
  }
}

class PackedProducts : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_variant(GetParam()); }
  void TearDown() override { force_variant(""); }
  std::mt19937 random_{11};
};
INSTANTIATE_TEST_SUITE_P(Variants, PackedProducts, testing::ValuesIn(testable_variants()),
                         [](const auto& variant) { return variant.param; });

TEST_P(PackedProducts, BlockFormats) {
  for (const formats::BlockFormat& format : formats::block_formats()) {
    for (const int64_t m : {1, 4, 5, 16, 17, 31, 48, 50, 100}) {
      const RowForm form = row_form({.format = format.dtype}, m);
      if (!is_packed(form)) continue;
      for (const auto& [n, k] : {std::pair<int64_t, int64_t>{1, 256},
                                 {33, 512},
                                 {8, 96},
                                 {70, 768},
                                 {5, 32},
                                 {64, 288}}) {
        if (k % format.elements != 0) continue;
        check(form, format.dtype, m, n, k, random_);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(PackedProducts, FloatFormats) {
  for (const DType format : {DType::kBF16, DType::kF8E4M3}) {
    for (const int64_t m : {1, 2, 3, 4, 5, 16, 17, 31, 48, 50, 100}) {
      const RowForm form = row_form({.format = format, .block_cols = 64}, m);
      if (!is_packed(form)) continue;
      for (const auto& [n, k] : {std::pair<int64_t, int64_t>{1, 64},
                                 {33, 512},
                                 {8, 96},
                                 {70, 208},
                                 {5, 16},
                                 {64, 288}}) {
        check(form, format, m, n, k, random_);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(RowForm, FollowsTheProcessor) {
  for (const std::string& variant : testable_variants()) {
    force_variant(variant);
    EXPECT_EQ(row_form({.format = DType::kF32}, 512), RowForm::kMatmul);
    EXPECT_EQ(row_form({.format = DType::kF32}, 1), RowForm::kFloat32);
    EXPECT_EQ(row_form({.format = DType::kQ4_K}, 1), RowForm::kInt8Rows);
    EXPECT_EQ(row_form({.format = DType::kQ4_K}, 512) == RowForm::kBF16Panels,
              current_features().amx);
    EXPECT_EQ(row_form({.format = DType::kBF16}, 512),
              current_features().amx ? RowForm::kBF16Panels : RowForm::kMatmul);
  }
  force_variant("");
}

}  // namespace
}  // namespace dsv3::kernels
