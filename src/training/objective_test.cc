#include "training/objective.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <optional>
#include <random>

#include "model/test_models.h"
#include "training/initialization.h"
#include "training/parameters.h"
#include "training/test_windows.h"

namespace dsv3::training {
namespace {

TEST(PiecesTest, AreWindowsOrTheirDocumentsOfTwoTokensOrMore) {
  const Window w{{1, 2, 3, 4, 5, 6, 7}, {0, 0, 0, 1, 2, 2, 2}};
  const std::vector<Window> windows = {w, {{8, 9}, {0, 0}}};
  EXPECT_EQ(pieces_of(windows, true), (std::vector<Piece>{{1, 2, 3, 4, 5, 6, 7}, {8, 9}}));
  EXPECT_EQ(pieces_of(windows, false), (std::vector<Piece>{{1, 2, 3}, {5, 6, 7}, {8, 9}}));
}

TEST(PiecesTest, EachModulePredictsOneTokenLessOfEachPiece) {
  const std::vector<Piece> pieces = {{1, 2, 3, 4, 5}, {1, 2}, {1, 2, 3}};
  EXPECT_EQ(predicted_tokens(pieces, 3), (std::vector<int64_t>{7, 4, 2, 1}));
}

// A small model in which biases decide which experts are chosen, so that a small change of a weight
// never changes it: losses are smooth.
struct Fixture {
  DeepseekV3Config config;
  Parameters parameters;
  Objective objective;

  explicit Fixture(const DeepseekV3Config& c, TrainingDType dtype = TrainingDType::kFloat32)
      : config(c),
        parameters(config, dtype, model::Head::kCausalLm, true),
        objective(config, dtype == TrainingDType::kBFloat16 ? DType::kBF16 : DType::kF32, false) {
    initialize(config, 5, parameters);
    // Norms that are not all 1.
    std::mt19937 rng(6);
    std::normal_distribution<float> normal(1, 0.2f);
    for (const Parameter& p : parameters.all()) {
      for (int64_t i = 0; p.vector && i < p.count; ++i)
        parameters.masters()[p.begin + i] = normal(rng);
    }
    parameters.round_masters();
    int64_t first = 0;
    for (Parameters::Bias& bias : parameters.biases) {
      const auto values = bias.values.as_mutable<float>();
      values[first % config.n_routed_experts] = 10;
      values[(first + 3) % config.n_routed_experts] = 9;
      ++first;
    }
  }

  struct Result {
    Losses losses;
    std::vector<std::vector<int64_t>> load;
  };
  Result differentiate(const std::vector<Piece>& pieces, const LossWeights& weights) {
    Result r;
    r.load.assign(parameters.biases.size(), std::vector<int64_t>(config.n_routed_experts));
    parameters.clear_gradient();
    r.losses =
        objective.differentiate(parameters.weights, pieces, weights, parameters.gradients, r.load);
    return r;
  }
  std::vector<float> gradient() const {
    return {std::as_const(parameters).gradient().begin(),
            std::as_const(parameters).gradient().end()};
  }
};

DeepseekV3Config mtp_config(int64_t depth) {
  DeepseekV3Config config = tiny_config();
  config.num_nextn_predict_layers = depth;
  config.initializer_range = 0.2;  // of the order of 1 / sqrt(hidden_size): gradients everywhere
  return config;
}

std::vector<Piece> random_pieces(const std::vector<int64_t>& lengths, int64_t vocab) {
  std::mt19937 random(7);
  std::vector<Piece> pieces;
  for (const int64_t n : lengths) pieces.push_back(random_window({n}, vocab, random).tokens);
  return pieces;
}

double norm(std::span<const float> x) {
  double sum = 0;
  for (const float v : x) sum += double{v} * v;
  return std::sqrt(sum);
}

double relative_difference(std::span<const float> a, std::span<const float> b) {
  std::vector<float> d(a.begin(), a.end());
  for (size_t i = 0; i < d.size(); ++i) d[i] -= b[i];
  return norm(d) / norm(b);
}

double total(const Losses& losses, const LossWeights& weights) {
  double sum = losses.balance;
  for (size_t k = 0; k < losses.cross_entropy.size(); ++k)
    sum += losses.cross_entropy[k] * weights.cross_entropy[k];
  return sum;
}

// Every tensor's gradient of the whole objective along random directions of unit length, in which
// all its elements have a part, against differences of fourth order of the float32 losses.
//
// Bound: with steps of 0.05 and 0.1, spread over all elements of a tensor, the fifth derivative
// counts with 0.05^4 / 5 = 1e-6; the inputs of the first norm are about 0.2, so that derivatives
// along a unit vector grow up to some tenfold with their order. The total is a sum over some 50
// predicted tokens with weights of about 1/50, each off by 1e-6 or so, independently: 2e-7 in all,
// over a step 4e-6.
void expect_gradients_match_differences(const DeepseekV3Config& config) {
  const ThreadCount count(1);  // for so little work the fastest
  Fixture f(config);
  const std::vector<Piece> pieces = random_pieces({17, 4, 2, 31}, config.vocab_size);
  // Without the balance loss, which jumps where another expert's score becomes one of the best.
  LossWeights weights{{1.0 / 50}, 0};
  for (int64_t k = 0; k < config.num_nextn_predict_layers; ++k)
    weights.cross_entropy.push_back(0.7 / 50);
  const Fixture::Result base = f.differentiate(pieces, weights);
  const std::vector<float> gradient = f.gradient();
  std::mt19937 rng(8);
  std::normal_distribution<double> normal;
  for (const Parameter& p : f.parameters.all()) {
    const auto of_tensor = std::span(gradient).subspan(p.begin, p.count);
    const std::vector<float> at(f.parameters.masters().data() + p.begin,
                                f.parameters.masters().data() + p.begin + p.count);
    {
      std::vector<double> direction(p.count);
      double length = 0;
      for (double& d : direction) d = normal(rng), length += d * d;
      for (double& d : direction) d /= std::sqrt(length);
      const auto loss_at = [&](double step) {
        for (int64_t i = 0; i < p.count; ++i)
          f.parameters.masters()[p.begin + i] = static_cast<float>(at[i] + step * direction[i]);
        const Fixture::Result r = f.differentiate(pieces, weights);
        EXPECT_EQ(r.load, base.load) << p.name << ": another choice of experts";
        return total(r.losses, weights);
      };
      constexpr double kStep = 0.05;
      const double expected =
          (8 * (loss_at(kStep) - loss_at(-kStep)) - (loss_at(2 * kStep) - loss_at(-2 * kStep))) /
          (12 * kStep);
      std::copy(at.begin(), at.end(), f.parameters.masters().begin() + p.begin);
      double found = 0;
      for (int64_t i = 0; i < p.count; ++i) found += of_tensor[i] * direction[i];
      EXPECT_NEAR(found, expected, 2e-5 + 1e-4 * norm(of_tensor))
          << p.name << ", norm of its gradient " << norm(of_tensor);
    }
  }
}

TEST(ObjectiveTest, AStepDownTheBalanceLosssGradientLowersItByAsMuch) {
  const ThreadCount count(1);
  Fixture f(mtp_config(1));
  for (const Parameter& p : f.parameters.all()) {  // scores that are far apart
    for (int64_t i = 0; p.name.ends_with("mlp.gate.weight") && i < p.count; ++i)
      f.parameters.masters()[p.begin + i] *= 4;
  }
  const std::vector<Piece> pieces = random_pieces({9, 4}, f.config.vocab_size);
  // The modules run, and nothing but balance has a gradient to speak of.
  const LossWeights weights{{1e-30, 1e-30}, 1.0 / 50};
  const double before = f.differentiate(pieces, weights).losses.balance;
  const std::vector<float> gradient = f.gradient();
  const double square = norm(gradient) * norm(gradient);
  ASSERT_GT(square, 1e-4);
  // So short a step that no choice changes, and far above the rounding of the loss, 1e-7.
  const double step = 2e-4 / std::sqrt(square);
  for (size_t i = 0; i < gradient.size(); ++i)
    f.parameters.masters()[i] -= static_cast<float>(step * gradient[i]);
  const double after = f.differentiate(pieces, weights).losses.balance;
  EXPECT_NEAR((before - after) / (step * square), 1, 0.02);
}

TEST(ObjectiveTest, GradientsOfTheTotalLossMatchFiniteDifferences) {
  for (const int64_t depth : {0, 1, 2}) expect_gradients_match_differences(mtp_config(depth));
}

TEST(ObjectiveTest, GradientsOfTiedEmbeddingsMatchFiniteDifferences) {
  DeepseekV3Config config = mtp_config(1);
  config.tie_word_embeddings = true;
  config.q_lora_rank.reset();
  config.n_shared_experts = 0;
  expect_gradients_match_differences(config);
}

TEST(ObjectiveTest, EveryTensorOfAModuleHasAGradient) {
  Fixture f(mtp_config(2));
  f.differentiate(random_pieces({20}, 50), {{0, 0.1, 0.1}, 0});
  for (const Parameter& p : f.parameters.all()) {
    const auto g = std::as_const(f.parameters).gradient().subspan(p.begin, p.count);
    if (p.name == "model.norm.weight") {
      // Modules take hidden states after the main model's final norm.
      EXPECT_GT(norm(g), 0) << p.name;
    }
    const bool expert = p.name.find(".mlp.experts.") != std::string::npos;
    if (!expert) {
      EXPECT_GT(norm(g), 0) << p.name;
    }
  }
}

TEST(ObjectiveTest, EvaluateGivesTheLossesOfDifferentiate) {
  Fixture f(mtp_config(2));
  const std::vector<Piece> pieces = random_pieces({9, 2, 3, 30}, 50);
  const auto expected = f.differentiate(pieces, {{1, 1, 1}, 0}).losses.cross_entropy;
  const std::vector<double> modules = {1, 1};
  EXPECT_EQ(f.objective.evaluate(f.parameters.weights, pieces, modules).cross_entropy, expected);
  ASSERT_EQ(expected.size(), 3U);
  for (const double loss : expected) EXPECT_GT(loss, 0);
}

TEST(ObjectiveTest, AModuleOfNoWeightDoesNotRun) {
  Fixture f(mtp_config(2));
  const std::vector<Piece> pieces = random_pieces({9, 20}, 50);
  const Fixture::Result r = f.differentiate(pieces, {{1, 0, 0}, 0});
  EXPECT_EQ(r.losses.cross_entropy[1], 0);
  EXPECT_EQ(std::accumulate(r.load[1].begin(), r.load[1].end(), int64_t{0}), 0);
  for (const Parameter& p : f.parameters.all()) {
    if (p.name.find("layers.2.") == std::string::npos) continue;
    EXPECT_EQ(norm(std::as_const(f.parameters).gradient().subspan(p.begin, p.count)), 0) << p.name;
  }
}

TEST(ObjectiveTest, LoadCountsEachTokensExperts) {
  Fixture f(mtp_config(1));
  const Fixture::Result r = f.differentiate(random_pieces({9, 20, 2}, 50), {{1, 1}, 0});
  // Two experts for each of 8 + 19 + 1 rows, and of the module's 7 + 18; the biases choose.
  EXPECT_EQ(r.load,
            (std::vector<std::vector<int64_t>>{{28, 0, 0, 28, 0, 0}, {0, 25, 0, 0, 25, 0}}));
}

// Losses and gradients of pieces together are the sums of those of each alone: nothing goes from
// one to the other, at any depth.
TEST(ObjectiveTest, PiecesDoNotSeeEachOther) {
  Fixture f(mtp_config(2));
  const std::vector<Piece> pieces = random_pieces({13, 2, 70, 3, 4}, 50);
  const LossWeights weights{{0.1, 0.05, 0.02}, 0.01};
  const Fixture::Result together = f.differentiate(pieces, weights);
  const std::vector<float> gradient = f.gradient();
  std::vector<float> sum(gradient.size());
  std::vector<double> losses(3);
  double balance = 0;
  for (const Piece& piece : pieces) {
    const Fixture::Result r = f.differentiate({piece}, weights);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += f.parameters.gradient()[i];
    for (size_t k = 0; k < 3; ++k) losses[k] += r.losses.cross_entropy[k];
    balance += r.losses.balance;
  }
  // In float32, in another order.
  EXPECT_LT(relative_difference(sum, gradient), 1e-6);
  for (size_t k = 0; k < 3; ++k)
    EXPECT_NEAR(losses[k] / together.losses.cross_entropy[k], 1, 1e-6) << k;
  EXPECT_NEAR(balance / together.losses.balance, 1, 1e-6);
}

TEST(ObjectiveTest, ATokenOfOneDocumentChangesNothingInAnother) {
  Fixture f(mtp_config(2));
  std::mt19937 random(9);
  std::vector<Window> windows = {random_window({12, 15}, 50, random)};
  const std::vector<double> modules = {1, 1};
  const auto losses = [&](bool across) {
    return f.objective.evaluate(f.parameters.weights, pieces_of(windows, across), modules)
        .cross_entropy;
  };
  const auto of_document = [&](size_t document) {
    return f.objective
        .evaluate(f.parameters.weights, std::vector<Piece>{pieces_of(windows, false)[document]},
                  modules)
        .cross_entropy;
  };
  const auto both = losses(false), first = of_document(0), second = of_document(1);
  for (size_t k = 0; k < 3; ++k) {
    EXPECT_NEAR(both[k], first[k] + second[k], 1e-4) << k;
    // As one window, tokens of the second see the first, and the border is predicted.
    EXPECT_GT(std::fabs(losses(true)[k] - both[k]), 0.01) << k;
  }
  // The border: the first token of the second document is a label and an input of nothing before.
  windows[0].tokens[12] = (windows[0].tokens[12] + 1) % 50;
  EXPECT_EQ(of_document(0), first);
  const auto changed = losses(false), changed_second = of_document(1);
  for (size_t k = 0; k < 3; ++k) {
    EXPECT_NEAR(changed[k] - both[k], changed_second[k] - second[k], 1e-4) << k;
  }
}

TEST(ObjectiveTest, Bfloat16GradientsAreCloseToFloat32) {
  const DeepseekV3Config config = mtp_config(1);
  Fixture exact(config), rounded(config, TrainingDType::kBFloat16);
  const std::vector<Piece> pieces = random_pieces({40, 30}, 50);
  const LossWeights weights{{0.1, 0.05}, 0};
  const Losses a = exact.differentiate(pieces, weights).losses;
  const Losses b = rounded.differentiate(pieces, weights).losses;
  // A number in bfloat16 is off by 1/512 in the mean, and a gradient goes through some twenty
  // products of such numbers: errors are independent, so sqrt(2 * 20) / 512 or so.
  EXPECT_NEAR(b.cross_entropy[0] / a.cross_entropy[0], 1, 0.01);
  EXPECT_NEAR(b.cross_entropy[1] / a.cross_entropy[1], 1, 0.01);
  EXPECT_LT(relative_difference(rounded.gradient(), exact.gradient()), 0.03);
  EXPECT_GT(relative_difference(rounded.gradient(), exact.gradient()), 1e-4);
}

}  // namespace
}  // namespace dsv3::training
