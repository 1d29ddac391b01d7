#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "ops/test_data.h"

// Gradients against differences of a loss, for tests. The loss is a reference written in double, so
// that the differences themselves are good to ten digits or so, and what remains is the rounding of
// the gradient under test.
namespace dsv3::ops {

/// What gradients that are added to hold before, so that overwriting shows. Of the magnitude of the
/// gradients in these tests: it costs a rounding or two of them.
inline constexpr float kBefore = 0.5f;

inline std::vector<double> doubles(std::span<const float> x) { return {x.begin(), x.end()}; }
inline std::vector<double> doubles(const Rows& x) { return doubles(x.data); }

/// A float32 gradient for w that holds kBefore.
inline LinearWeight gradient_for(const LinearWeight& w) {
  LinearWeight g;
  const auto filled = [](const Tensor& like) {
    Tensor t = Tensor::empty(DType::kF32, like.shape());
    for (float& x : t.as_mutable<float>()) x = kBefore;
    return t;
  };
  g.weight = filled(w.weight);
  if (w.bias.defined()) g.bias = filled(w.bias);
  return g;
}

/// What a gradient that held `before` received.
inline std::vector<double> received(std::span<const float> gradient, float before = kBefore) {
  std::vector<double> d = doubles(gradient);
  for (double& v : d) v -= before;
  return d;
}
inline std::vector<double> received(const LinearWeight& gradient) {
  return received(gradient.weight.as<float>());
}

inline double norm(std::span<const double> x) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  return std::sqrt(sum);
}

/// |a - b| / |b| of two vectors.
inline double relative_difference(std::span<const double> a, std::span<const double> b) {
  EXPECT_EQ(a.size(), b.size());
  std::vector<double> d(a.begin(), a.end());
  for (size_t i = 0; i < d.size(); ++i) d[i] -= b[i];
  return norm(d) / norm(b);
}

/// Holds `gradient` of loss() with respect to x, which loss() reads, against differences along
/// random directions of unit length, in which every element has a part, and along some single
/// elements.
///
/// Bound: each element of a gradient is a sum of n products; its error is at most about n roundings
/// of the products' magnitude, and the products of random data add up to at least that magnitude
/// over all elements. So the error along a unit vector is within `roundings` (the longest chain of
/// operations) times a rounding of the gradient's norm. One element that is wrong or left out of N
/// shows as 1/N of the norm along a random direction, and entirely along its own.
///
/// The differences are of fourth order: with a step of 1e-3 and derivatives of order 1 they err by
/// 1e-12, and double's rounding of the loss by 1e-16 / 1e-3.
template <class Loss>
void expect_gradient(const std::string& what, std::vector<double>& x,
                     std::span<const double> gradient, double roundings, Loss&& loss) {
  constexpr double kStep = 1e-3;
  ASSERT_EQ(x.size(), gradient.size()) << what;
  if (x.empty()) return;
  Random random(99);
  const auto n = static_cast<int64_t>(x.size());
  const double whole = norm(gradient);
  ASSERT_TRUE(std::isfinite(whole)) << what;
  const std::vector<double> at = x;
  for (int trial = 0; trial < 9; ++trial) {
    std::vector<double> direction(n, 0.0);
    if (trial < 3) {
      for (double& d : direction) d = random.normal();
      const double length = norm(direction);
      for (double& d : direction) d /= length;
    } else {
      direction[trial == 3 ? 0 : trial == 4 ? n - 1 : random.integer(0, n - 1)] = 1;
    }
    const auto loss_at = [&](double step) {
      for (int64_t i = 0; i < n; ++i) x[i] = at[i] + step * direction[i];
      return static_cast<double>(loss());
    };
    const double expected =
        (8 * (loss_at(kStep) - loss_at(-kStep)) - (loss_at(2 * kStep) - loss_at(-2 * kStep))) /
        (12 * kStep);
    x = at;
    double found = 0;
    for (int64_t i = 0; i < n; ++i) found += gradient[i] * direction[i];
    EXPECT_NEAR(found, expected, roundings * kRounding * (whole + kBefore))
        << what << ", direction " << trial << ", norm of the gradient " << whole;
  }
}

}  // namespace dsv3::ops
