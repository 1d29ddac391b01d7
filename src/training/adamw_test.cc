#include "training/adamw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "formats/float_formats.h"
#include "model/test_models.h"
#include "training/initialization.h"

namespace dsv3::training {
namespace {

constexpr double kRounding = std::numeric_limits<float>::epsilon() / 2;

// An embedding of more than one task (65536 elements).
DeepseekV3Config wide_config() {
  DeepseekV3Config config = tiny_config();
  config.vocab_size = 3000;
  config.num_nextn_predict_layers = 1;
  return config;
}

Parameters random_parameters(TrainingDType dtype = TrainingDType::kFloat32) {
  Parameters parameters(wide_config(), dtype, model::Head::kCausalLm, true);
  initialize(wide_config(), 1, parameters);
  return parameters;
}

// Leaves what only aligns the parameters at 0.
void fill_gradient(Parameters& parameters, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  for (const Parameter& p : parameters.all()) {
    for (int64_t i = 0; i < p.count; ++i) parameters.gradient()[p.begin + i] = normal(rng);
  }
}

TEST(GradientNormTest, IsTheRootOfTheSumOfAllSquares) {
  Parameters parameters = random_parameters();
  EXPECT_EQ(gradient_norm(parameters), 0);
  EXPECT_EQ(torch_gradient_norm(parameters), 0);
  fill_gradient(parameters, 2);
  double sum = 0;
  for (const float g : parameters.gradient()) sum += double{g} * g;
  const double expected = std::sqrt(sum);
  // Float32 sums of 4096 squares; torch's are of a whole tensor by eight. Roots halve the error.
  EXPECT_NEAR(gradient_norm(parameters), expected, 4096 * kRounding / 2 * expected);
  EXPECT_NEAR(torch_gradient_norm(parameters), expected,
              3000.0 * 24 / 8 * kRounding / 2 * expected);
  for (const int threads : {1, 3}) {
    const double before = gradient_norm(parameters);
    const ThreadCount count(threads);
    EXPECT_EQ(gradient_norm(parameters), before);
  }
}

TEST(GradientNormTest, NamesTheFirstGradientThatIsNotFinite) {
  Parameters parameters = random_parameters();
  fill_gradient(parameters, 3);
  EXPECT_EQ(first_not_finite(parameters), "");
  const Parameter& last = parameters.all().back();
  parameters.gradient()[last.begin + 4] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(first_not_finite(parameters), "gradient of " + last.name + ", element 4: inf");
  const Parameter& third = parameters.all()[2];
  parameters.gradient()[third.begin + 5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(first_not_finite(parameters), "gradient of " + third.name + ", element 5: nan");
}

// torch.optim.AdamW in double.
struct Reference {
  std::vector<double> w, m, v;
  void step(const AdamWOptions& o, int64_t t, double lr, const std::vector<double>& g, size_t i,
            bool decays) {
    if (decays) w[i] *= 1 - lr * o.weight_decay;
    m[i] = o.beta1 * m[i] + (1 - o.beta1) * g[i];
    v[i] = o.beta2 * v[i] + (1 - o.beta2) * g[i] * g[i];
    const auto steps = static_cast<double>(t);
    const double m_hat = m[i] / (1 - std::pow(o.beta1, steps));
    const double v_hat = v[i] / (1 - std::pow(o.beta2, steps));
    w[i] -= lr * m_hat / (std::sqrt(v_hat) + o.eps);
  }
};

TEST(AdamWTest, FollowsTheFormulaOverSeveralStepsAndDecaysMatricesOnly) {
  for (const bool decay_vectors : {false, true}) {
    for (const auto dtype : {TrainingDType::kFloat32, TrainingDType::kBFloat16}) {
      Parameters parameters = random_parameters(dtype);
      const AdamWOptions options{.weight_decay = 0.3, .decay_vectors = decay_vectors};
      const auto n = static_cast<size_t>(parameters.size());
      const auto masters = parameters.masters();
      Reference expected{
          {masters.begin(), masters.end()}, std::vector<double>(n), std::vector<double>(n)};
      constexpr int64_t kSteps = 4;
      for (int64_t t = 1; t <= kSteps; ++t) {
        fill_gradient(parameters, static_cast<uint32_t>(t));
        const double lr = 0.01 * static_cast<double>(t), scale = 1 / static_cast<double>(t);
        std::vector<double> g(n);
        for (size_t i = 0; i < n; ++i) g[i] = scale * parameters.gradient()[i];
        for (const Parameter& p : parameters.all()) {
          for (int64_t i = p.begin; i < p.begin + p.count; ++i)
            expected.step(options, t, lr, g, i, decay_vectors || !p.vector);
        }
        adamw_step(options, t, lr, scale, parameters);
      }
      for (const Parameter& p : parameters.all()) {
        for (int64_t i = p.begin; i < p.begin + p.count; ++i) {
          // A step moves by at most about lr / (1 - beta1): all that is rounded in it, and the
          // weight itself.
          ASSERT_NEAR(masters[i], expected.w[i],
                      kSteps * kRounding * (4 * std::fabs(expected.w[i]) + 16 * 0.04 * 10))
              << p.name;
          if (parameters.bf16(p) != nullptr) {
            ASSERT_EQ(parameters.bf16(p)[i - p.begin], formats::float_to_bf16(masters[i]));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace dsv3::training
