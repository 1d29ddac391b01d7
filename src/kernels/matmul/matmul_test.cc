#include "kernels/matmul/matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "formats/float_formats.h"
#include "kernels/variants.h"

namespace dsv3::kernels {
namespace {

constexpr MatmulPrecision kPrecisions[] = {MatmulPrecision::kFloat32, MatmulPrecision::kBFloat16};

struct Kind {
  bool bf16 = false, transposed = false, gathered = false, scaled = false;
};
Kind kind(unsigned bits) {
  return {(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0};
}

// An operand with its memory, which ends with the last number of the last row; NaN between rows.
struct Matrix {
  std::vector<float> wide;
  std::vector<uint16_t> narrow;
  std::vector<int32_t> rows;
  std::vector<float> scale;
  MatmulOperand view;

  float& at(int64_t row, int64_t col) {
    return wide[(rows.empty() ? row : rows[row]) * view.stride + col];
  }
};

// [rows, cols] after transposition.
Matrix random_matrix(int64_t rows, int64_t cols, Kind kind, std::mt19937& random) {
  if (kind.transposed) std::swap(rows, cols);
  Matrix x;
  x.view.stride = cols + static_cast<int64_t>(random() % 5);
  x.view.transposed = kind.transposed;
  const int64_t stored = rows + (kind.gathered ? 3 : 0);
  x.wide.assign(std::max<int64_t>(0, (stored - 1) * x.view.stride + cols), NAN);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < stored; ++i) {
    for (int64_t j = 0; j < cols; ++j) x.wide[i * x.view.stride + j] = normal(random);
  }
  if (kind.gathered) {
    x.rows.resize(stored);
    std::iota(x.rows.begin(), x.rows.end(), 0);
    std::shuffle(x.rows.begin(), x.rows.end(), random);
    x.rows.resize(rows);
    if (rows > 1) x.rows[0] = x.rows[1];  // as a token may go to two places
    x.view.rows = x.rows.data();
  }
  if (kind.scaled) {
    for (int64_t i = 0; i < rows; ++i) x.scale.push_back(normal(random));
    x.view.row_scale = x.scale.data();
  }
  x.view.bf16 = kind.bf16;
  if (kind.bf16) {
    for (const float v : x.wide) x.narrow.push_back(formats::float_to_bf16(v));
    x.view.data = x.narrow.data();
  } else {
    x.view.data = x.wide.data();
  }
  return x;
}

struct Shape {
  int64_t m, n, k;
};

float magnitude(const MatmulOperand& x, int64_t row, int64_t col) {
  if (x.transposed) std::swap(row, col);
  const int64_t at = (x.rows != nullptr ? x.rows[row] : row) * x.stride + col;
  const float v = x.bf16 ? formats::bf16_to_float(static_cast<const uint16_t*>(x.data)[at])
                         : static_cast<const float*>(x.data)[at];
  return std::fabs(v * (x.row_scale != nullptr ? x.row_scale[row] : 1.0f));
}

void check(MatmulPrecision precision, Shape s, const Matrix& a, const Matrix& b, bool accumulate,
           std::mt19937& random) {
  const int64_t ldc = s.n + static_cast<int64_t>(random() % 3);
  std::vector<float> c(std::max<int64_t>(1, s.m * ldc), accumulate ? 0.5f : NAN);
  std::vector<float> expected = c, again = c;
  matmul(precision, s.m, s.n, s.k, a.view, b.view, accumulate, c.data(), ldc);
  matmul_ref(precision, s.m, s.n, s.k, a.view, b.view, accumulate, expected.data(), ldc);
  for (int64_t i = 0; i < s.m; ++i) {
    for (int64_t j = 0; j < ldc; ++j) {
      const float found = c[i * ldc + j], want = expected[i * ldc + j];
      if (j >= s.n) {
        ASSERT_EQ(std::memcmp(&found, &want, 4), 0) << "written beyond the row's end";
        continue;
      }
      double size = accumulate ? 0.5 : 0;
      for (int64_t l = 0; l < s.k; ++l) {
        size += double{magnitude(a.view, i, l)} * magnitude(b.view, l, j);
      }
      // A rounding for each product and each addition; 1.01: bfloat16 may round both factors up.
      const double bound = 0x1p-24 * static_cast<double>(s.k + 4) * 1.01 * size;
      ASSERT_NEAR(found, want, bound)
          << "[" << s.m << ", " << s.k << "] x [" << s.k << ", " << s.n << "] at " << i << ", " << j
          << (precision == MatmulPrecision::kBFloat16 ? " in bfloat16" : "") << "; A transposed "
          << a.view.transposed << " bf16 " << a.view.bf16 << ", B transposed " << b.view.transposed
          << " bf16 " << b.view.bf16;
    }
  }
  matmul(precision, s.m, s.n, s.k, a.view, b.view, accumulate, again.data(), ldc);
  ASSERT_EQ(std::memcmp(c.data(), again.data(), c.size() * sizeof(float)), 0) << "not repeatable";
}

class Matmul : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_variant(GetParam()); }
  void TearDown() override { force_variant(""); }

  void check_random(Shape s, Kind a, Kind b, bool accumulate) {
    for (const MatmulPrecision precision : kPrecisions) {
      const Matrix x = random_matrix(s.m, s.k, a, random_), y = random_matrix(s.k, s.n, b, random_);
      check(precision, s, x, y, accumulate, random_);
    }
  }
  std::mt19937 random_{17};
};
INSTANTIATE_TEST_SUITE_P(Variants, Matmul, testing::ValuesIn(testable_variants()),
                         [](const auto& variant) { return variant.param; });

TEST_P(Matmul, EveryKindOfOperandTimesEveryOther) {
  for (unsigned bits = 0; bits < 256; ++bits) {
    for (const Shape s : {Shape{17, 41, 39}, Shape{5, 32, 64}, Shape{29, 16, 33}}) {
      check_random(s, kind(bits % 16), kind(bits / 16), bits % 3 == 0);
      if (HasFatalFailure()) FAIL() << "kinds " << bits % 16 << " and " << bits / 16;
    }
  }
}

TEST_P(Matmul, EveryHeightAndWidthOfTiles) {
  for (int64_t m = 1; m <= 34; ++m) {
    for (const int64_t n : {1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 48, 70}) {
      check_random({m, n, static_cast<int64_t>(1 + random_() % 40)}, kind(random_() % 16),
                   kind(random_() % 16), random_() % 2 == 0);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Matmul, BlocksOfKAndOfRows) {
  for (const Shape s : {Shape{3, 5, 255}, Shape{6, 33, 256}, Shape{14, 32, 257}, Shape{15, 20, 513},
                        Shape{2, 40, 1025}, Shape{7, 3, 1300}, Shape{600, 9, 20},
                        Shape{521, 4, 300}, Shape{64, 256, 48}, Shape{256, 32, 64}}) {
    for (int i = 0; i < 8; ++i) {
      check_random(s, kind(random_() % 16), kind(random_() % 16), i % 2 == 0);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Matmul, EmptySizes) {
  const Matrix none;
  float c[2] = {3, 4};
  for (const MatmulPrecision precision : kPrecisions) {
    matmul(precision, 0, 5, 2, none.view, none.view, false, c, 5);
    matmul(precision, 5, 0, 2, none.view, none.view, false, c, 0);
    matmul(precision, 1, 2, 0, none.view, none.view, true, c, 2);
    EXPECT_EQ(c[0], 3);
    EXPECT_EQ(c[1], 4);
    matmul(precision, 1, 1, 0, none.view, none.view, false, c, 2);
    EXPECT_EQ(c[0], 0);
    EXPECT_EQ(c[1], 4);
    c[0] = 3;
  }
}

TEST_P(Matmul, NanAndInfinityReachTheirRowsAndColumnsAndNoOthers) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const Shape s{19, 37, 35};
  for (const MatmulPrecision precision : kPrecisions) {
    for (unsigned bits = 0; bits < 4; ++bits) {
      Matrix a = random_matrix(s.m, s.k, {.transposed = (bits & 1) != 0}, random_);
      Matrix b = random_matrix(s.k, s.n, {.transposed = (bits & 2) != 0}, random_);
      (bits & 1) != 0 ? a.at(34, 3) = NAN : a.at(3, 34) = NAN;
      // All bits set: what rounding to bfloat16 by an addition would make a zero of.
      const uint32_t ones = 0x7fffffff;
      std::memcpy(&((bits & 1) != 0 ? a.at(0, 5) : a.at(5, 0)), &ones, 4);
      (bits & 2) != 0 ? b.at(36, 2) = kInf : b.at(2, 36) = kInf;
      std::vector<float> c(s.m * s.n);
      matmul(precision, s.m, s.n, s.k, a.view, b.view, false, c.data(), s.n);
      for (int64_t i = 0; i < s.m; ++i) {
        for (int64_t j = 0; j < s.n; ++j) {
          const float v = c[i * s.n + j];
          EXPECT_EQ(std::isnan(v), i == 3 || i == 5) << i << ", " << j;
          EXPECT_EQ(std::isinf(v), j == 36 && i != 3 && i != 5) << i << ", " << j;
        }
      }
    }
  }
}

TEST_P(Matmul, ARowDoesNotDependOnTheOthers) {
  const Matrix a = random_matrix(40, 300, {}, random_), b = random_matrix(300, 50, {}, random_);
  for (const MatmulPrecision precision : kPrecisions) {
    std::vector<float> all(40 * 50), one(50);
    matmul(precision, 40, 50, 300, a.view, b.view, false, all.data(), 50);
    for (const int64_t i : {0, 13, 39}) {
      MatmulOperand row = a.view;
      row.data = a.wide.data() + i * row.stride;
      matmul(precision, 1, 50, 300, row, b.view, false, one.data(), 50);
      EXPECT_EQ(std::memcmp(one.data(), all.data() + i * 50, 50 * sizeof(float)), 0);
    }
  }
}

}  // namespace
}  // namespace dsv3::kernels
