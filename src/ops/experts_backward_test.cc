// Gradients of SwiGLU networks and of the mixture of experts against differences of a reference in
// double.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "ops/experts.h"
#include "ops/finite_differences.h"

namespace dsv3::ops {
namespace {

MlpWeights random_mlp(int64_t hidden, int64_t inner, Random& random, DType dtype) {
  return {random.weight(inner, hidden, dtype), random.weight(inner, hidden, dtype),
          random.weight(hidden, inner, dtype)};
}

MlpWeights gradient_for(const MlpWeights& w) {
  return {gradient_for(w.gate_proj), gradient_for(w.up_proj), gradient_for(w.down_proj)};
}

// The memory of one network's activations.
struct Kept {
  Rows gate, up;
  Kept(int64_t rows, int64_t inner) : gate(rows, inner, NAN), up(rows, inner, NAN) {}
  MlpActivations view() { return {gate.matrix(), up.matrix()}; }
};

struct Case {
  int64_t tokens, hidden, inner;
  int64_t experts = 0, per_token = 0;
  int64_t shared_inner = 0;      // 0: no shared expert
  std::vector<int32_t> choices;  // of every token; empty: random
};

// What a mixture is made of, and its gradients. Without experts: the shared one by itself.
struct Mixture {
  Case c;
  std::vector<MlpWeights> experts;
  MlpWeights shared;
  Routing routing;
  Rows x, dy;

  Mixture(const Case& of, DType dtype, uint32_t seed = 1)
      : c(of), x(of.tokens, of.hidden), dy(of.tokens, of.hidden) {
    Random random(seed);
    for (int64_t e = 0; e < c.experts; ++e)
      experts.push_back(random_mlp(c.hidden, c.inner, random, dtype));
    if (c.shared_inner > 0) shared = random_mlp(c.hidden, c.shared_inner, random, dtype);
    x = random.rows(c.tokens, c.hidden);
    dy = random.rows(c.tokens, c.hidden);
    for (int64_t t = 0; t < c.tokens; ++t) {
      std::vector<int32_t> all(c.experts);
      std::iota(all.begin(), all.end(), 0);
      for (int64_t k = 0; k < c.per_token; ++k)
        std::swap(all[k], all[random.integer(k, c.experts - 1)]);
      std::sort(all.begin(), all.begin() + c.per_token);
      if (!c.choices.empty()) all = c.choices;
      for (int64_t k = 0; k < c.per_token; ++k) {
        routing.experts.push_back(all[k]);
        routing.weights.push_back(0.2f + std::fabs(random.normal()));
      }
    }
  }

  struct Gradients {
    Rows dx;
    std::vector<float> d_weights;
    std::vector<MlpWeights> experts;
    MlpWeights shared;

    std::vector<double> all() const {
      std::vector<double> values = doubles(dx);
      const auto add = [&](std::span<const double> v) {
        values.insert(values.end(), v.begin(), v.end());
      };
      add(doubles(d_weights));
      std::vector<MlpWeights> networks = experts;
      if (shared.gate_proj.defined()) networks.push_back(shared);
      for (const MlpWeights& g : networks) {
        for (const LinearWeight* w : {&g.gate_proj, &g.up_proj, &g.down_proj}) add(received(*w));
      }
      return values;
    }
  };

  Gradients backward() {
    Gradients g{
        Rows(c.tokens, c.hidden, NAN), std::vector<float>(c.tokens * c.per_token, NAN), {}, {}};
    for (const MlpWeights& w : experts) g.experts.push_back(gradient_for(w));
    if (c.shared_inner > 0) g.shared = gradient_for(shared);
    Rows y(c.tokens, c.hidden);
    Kept shared_kept(c.tokens, c.shared_inner), routed_kept(c.tokens * c.per_token, c.inner);
    const MlpActivations of_shared = shared_kept.view();
    if (c.experts == 0) {
      mlp(x.matrix(), shared, y.matrix(), Activations::kFast, {}, &of_shared);
      mlp_backward(x.matrix(), shared, dy.matrix(), of_shared, g.dx.matrix(), g.shared);
      return g;
    }
    const ExpertsActivations kept{routed_kept.view(), of_shared};
    const bool has_shared = c.shared_inner > 0;
    mixture_of_experts(x.matrix(), routing, c.per_token, experts, has_shared ? &shared : nullptr,
                       y.matrix(), Activations::kFast, {}, &kept);
    mixture_of_experts_backward(x.matrix(), routing, c.per_token, experts,
                                has_shared ? &shared : nullptr, dy.matrix(), kept, g.dx.matrix(),
                                g.d_weights, g.experts, has_shared ? &g.shared : nullptr);
    return g;
  }
};

struct MlpInDouble {
  int64_t hidden = 0, inner = 0;
  std::vector<double> gate, up, down;

  explicit MlpInDouble(const MlpWeights& w)
      : hidden(w.gate_proj.in_features()),
        inner(w.gate_proj.out_features()),
        gate(doubles(decoded(w.gate_proj))),
        up(doubles(decoded(w.up_proj))),
        down(doubles(decoded(w.down_proj))) {}

  // sum(down(silu(gate(x)) * up(x)) * dy) of one token.
  double loss(const double* x, const float* dy) const {
    double sum = 0;
    for (int64_t i = 0; i < inner; ++i) {
      double g = 0, u = 0, d = 0;
      for (int64_t j = 0; j < hidden; ++j) {
        g += gate[i * hidden + j] * x[j];
        u += up[i * hidden + j] * x[j];
        d += down[j * inner + i] * dy[j];
      }
      sum += g / (1 + std::exp(-g)) * u * d;
    }
    return sum;
  }
};

void expect_gradients(const Case& c) {
  SCOPED_TRACE(testing::Message() << c.tokens << " tokens of " << c.hidden << ", " << c.experts
                                  << " experts of " << c.inner << ", shared " << c.shared_inner);
  Mixture m(c, DType::kF32);
  const Mixture::Gradients g = m.backward();

  std::vector<double> x = doubles(m.x), weights = doubles(m.routing.weights);
  std::vector<MlpInDouble> experts(m.experts.begin(), m.experts.end());
  std::vector<MlpInDouble> shared;
  if (c.shared_inner > 0) shared.emplace_back(m.shared);
  const auto loss = [&] {
    double sum = 0;
    for (int64_t t = 0; t < c.tokens; ++t) {
      const double* of_token = &x[t * c.hidden];
      const float* dy = &m.dy.data[t * c.hidden];
      for (int64_t i = t * c.per_token; i < (t + 1) * c.per_token; ++i)
        sum += weights[i] * experts[m.routing.experts[i]].loss(of_token, dy);
      for (const MlpInDouble& w : shared) sum += w.loss(of_token, dy);
    }
    return sum;
  };
  const auto roundings =
      static_cast<double>(c.tokens + 2 * c.hidden + std::max(c.inner, c.shared_inner) + 16);
  expect_gradient("dx", x, doubles(g.dx), roundings, loss);
  expect_gradient("d_weights", weights, doubles(g.d_weights), roundings, loss);
  const auto expect_network = [&](const std::string& name, MlpInDouble& w, const MlpWeights& dw) {
    expect_gradient(name + " gate", w.gate, received(dw.gate_proj), roundings, loss);
    expect_gradient(name + " up", w.up, received(dw.up_proj), roundings, loss);
    expect_gradient(name + " down", w.down, received(dw.down_proj), roundings, loss);
  };
  for (size_t e = 0; e < experts.size(); ++e)
    expect_network("expert " + std::to_string(e), experts[e], g.experts[e]);
  if (!shared.empty()) expect_network("shared", shared[0], g.shared);
}

TEST(MlpBackwardTest, BackwardMatchesFiniteDifferences) {
  expect_gradients({.tokens = 1, .hidden = 1, .shared_inner = 1});
  expect_gradients({.tokens = 7, .hidden = 13, .shared_inner = 9});
  // More than a task: 128 tokens, 192 rows of a weight.
  expect_gradients({.tokens = 150, .hidden = 4, .shared_inner = 200});
  expect_gradients({.tokens = 5, .hidden = 200, .shared_inner = 6});
}

TEST(ExpertsBackwardTest, BackwardMatchesFiniteDifferences) {
  for (const int64_t shared_inner : {0, 5}) {
    expect_gradients({12, 10, 7, 4, 2, shared_inner, {}});
    expect_gradients({1, 3, 2, 2, 2, shared_inner, {}});
  }
  // More than a task of an expert.
  expect_gradients({280, 5, 3, 2, 1, 4, {}});
}

TEST(ExpertsBackwardTest, AllTokensOnOneExpertAndNoneOnTheOthers) {
  for (const int64_t shared_inner : {0, 5}) {
    const Case c{140, 6, 4, 3, 1, shared_inner, {1}};
    expect_gradients(c);
    Mixture m(c, DType::kF32);
    const Mixture::Gradients g = m.backward();
    for (const int e : {0, 2}) {
      for (const LinearWeight* w :
           {&g.experts[e].gate_proj, &g.experts[e].up_proj, &g.experts[e].down_proj}) {
        for (const double d : received(*w)) EXPECT_EQ(d, 0) << "expert " << e;
      }
    }
  }
}

TEST(ExpertsBackwardTest, Bfloat16IsCloseToFloat32) {
  // Weights that are bfloat16 numbers in both. Products round each factor by 1/256 at most, by
  // about a third of it in root mean square; four such products follow each other.
  const Case c{40, 48, 24, 4, 2, 32, {}};
  Mixture rounded(c, DType::kBF16), exact(c, DType::kF32);
  const auto widen = [](MlpWeights& w) {
    for (LinearWeight* of : {&w.gate_proj, &w.up_proj, &w.down_proj})
      of->weight = formats::convert(of->weight, DType::kF32);
  };
  exact.experts = rounded.experts;
  exact.shared = rounded.shared;
  for (MlpWeights& w : exact.experts) widen(w);
  widen(exact.shared);
  ASSERT_EQ(exact.x.data, rounded.x.data);
  const auto found = rounded.backward().all(), expected = exact.backward().all();
  EXPECT_LT(relative_difference(found, expected), 4.0 / 256);
}

TEST(ExpertsBackwardTest, AnyNumberOfThreadsGivesTheSameBits) {
  Mixture m({300, 40, 30, 4, 2, 200, {}}, DType::kF32);
  std::vector<std::vector<double>> found;
  for (const int threads : {1, 2, 3}) {
    const ThreadCount count(threads);
    found.push_back(m.backward().all());
  }
  EXPECT_EQ(found[0], found[1]);
  EXPECT_EQ(found[0], found[2]);
}

TEST(ExpertsBackwardTest, NoTokensAddNothing) {
  Mixture m({0, 4, 3, 2, 1, 3, {}}, DType::kF32);
  for (const double d : m.backward().all()) EXPECT_EQ(d, 0);
}

}  // namespace
}  // namespace dsv3::ops
