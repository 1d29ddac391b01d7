#include "training/trainer.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/pretrained.h"
#include "model/test_models.h"
#include "training/test_windows.h"

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;

// A training run of transformers' own (testdata/make_run.py): the initial model, int32 token ids
// [steps, rows, columns] and a table of step, loss, gradient norm, lr, MaxVio.
struct ReferenceRun {
  ReferenceRun(const fs::path& batches, const fs::path& table, int64_t rows_, int64_t columns_)
      : rows(rows_), columns(columns_) {
    std::ifstream ids(batches, std::ios::binary);
    int32_t id;
    while (ids.read(reinterpret_cast<char*>(&id), sizeof(id))) tokens.push_back(id);
    std::ifstream lines(table);
    std::string line;
    std::getline(lines, line);
    while (std::getline(lines, line)) {
      std::stringstream fields(line);
      std::vector<double>& values = curve.emplace_back();
      for (std::string field; std::getline(fields, field, ',');) values.push_back(std::stod(field));
    }
  }
  std::vector<Window> batch(size_t step) const {
    std::vector<Window> windows(rows);
    for (int64_t r = 0; r < rows; ++r) {
      const int32_t* from = tokens.data() + (static_cast<int64_t>(step) * rows + r) * columns;
      windows[r].tokens.assign(from, from + columns);
      windows[r].documents.assign(columns, 0);
    }
    return windows;
  }
  int64_t rows, columns;
  std::vector<int32_t> tokens;
  std::vector<std::vector<double>> curve;
};

double mean_violation(const StepReport& report) {
  double sum = 0;
  for (const auto& load : report.expert_load) sum += max_violation(load);
  return sum / static_cast<double>(report.expert_load.size());
}

// Follows a run; `allowed(step)`: {loss, gradient norm (relative), MaxVio}.
template <class Allowed>
void follow(const ReferenceRun& run, Trainer& trainer, Allowed&& allowed) {
  ASSERT_FALSE(run.curve.empty());
  for (size_t step = 0; step < run.curve.size(); ++step) {
    const std::vector<double>& expected = run.curve[step];
    const StepReport report =
        trainer.step(run.batch(step), {.learning_rate = expected[3], .bias_update_speed = 1e-3});
    const std::array<double, 3> bound = allowed(step);
    EXPECT_NEAR(report.loss, expected[1], bound[0]) << "step " << step;
    EXPECT_NEAR(report.grad_norm / expected[2], 1, bound[1]) << "step " << step;
    EXPECT_NEAR(mean_violation(report), expected[4], bound[2]) << "step " << step;
  }
}

const fs::path kTestData = fs::path(DSV3_SOURCE_DIR) / "src/training/testdata";
const TrainerOptions kFloat32 = {.dtype = TrainingDType::kFloat32, .torch_grad_norm = true};

TEST(TrainerTest, FollowsTransformersStepForStep) {
  const fs::path folder = kTestData / "run";
  const ReferenceRun run(folder / "batches.bin", folder / "curve.csv", 4, 33);
  Trainer trainer = Trainer::from_checkpoint(folder, 0, kFloat32);
  // Sums are in another order with every instruction set; in the gradient norm that shows as 3e-6.
  follow(run, trainer, [](size_t) { return std::array<double, 3>{2e-6, 1e-5, 1e-6}; });
}

// The same with a model too large to stand here: DSV3_STORIES_INIT names its folder. Rounding flips
// a near-tie of the router sooner or later, between two correct trainers from step 20 on, and from
// then on the runs part: until then they agree to the last digits.
TEST(TrainerTest, FollowsTransformersOnAStoryModel) {
  const char* folder = std::getenv("DSV3_STORIES_INIT");
  if (folder == nullptr) GTEST_SKIP() << "DSV3_STORIES_INIT is not set";
  const fs::path path = folder;
  const ReferenceRun run(path / "reference_batches.bin", path / "reference_curve.csv", 8, 257);
  Trainer trainer = Trainer::from_checkpoint(path, 0, kFloat32);
  follow(run, trainer, [](size_t step) -> std::array<double, 3> {
    if (step < 20) return {2e-6, 1e-5, 1e-6};
    return {2e-2, 1, 5e-2};
  });
}

// Everything once: groups, shared and routed experts, a dense layer, modules.
DeepseekV3Config small_config(int64_t mtp_depth = 1) {
  DeepseekV3Config config = tiny_config();
  config.num_nextn_predict_layers = mtp_depth;
  config.initializer_range = 0.1;
  return config;
}

TrainerOptions options_of(TrainingDType dtype) {
  TrainerOptions options;
  options.dtype = dtype;
  return options;
}

const StepSettings kSettings = {.learning_rate = 3e-3,
                                .bias_update_speed = 1e-3,
                                .balance_loss_alpha = 1e-2,
                                .mtp_loss_weight = 0.3};

TEST(TrainerTest, OverfitsOneBatch) {
  const ThreadCount count(1);  // for so little work the fastest
  for (const auto& [dtype, depth] :
       {std::pair(TrainingDType::kFloat32, 2), std::pair(TrainingDType::kBFloat16, 1)}) {
    TrainerOptions options = options_of(dtype);
    options.adamw.weight_decay = 0;
    Trainer trainer = Trainer::from_config(small_config(depth), 1, options);
    const std::vector<Window> windows = random_windows(3, 17, 50);
    StepSettings settings = kSettings;
    settings.learning_rate = 1e-2;
    settings.mtp_loss_weight = 1;
    settings.balance_loss_alpha = 1e-4;
    const StepReport first = trainer.step(windows, settings);
    // Random tokens under a random model: about the logarithm of their number.
    EXPECT_NEAR(first.loss, std::log(50.0), 1);
    EXPECT_EQ(first.tokens, 3 * 16);
    for (int step = 0; step < 300; ++step) trainer.step(windows, settings);
    const Evaluation last = trainer.evaluate(windows);
    EXPECT_LT(last.loss, 0.05);
    ASSERT_EQ(last.mtp_losses.size(), static_cast<size_t>(depth));
    for (const double loss : last.mtp_losses) EXPECT_LT(loss, 0.1);
  }
}

TEST(TrainerTest, StepReportsTheLossesThatEvaluateGives) {
  Trainer trainer = Trainer::from_config(small_config(2), 1, options_of(TrainingDType::kFloat32));
  const std::vector<Window> windows = random_windows(3, 20, 50);
  const Evaluation before = trainer.evaluate(windows);
  const StepReport report = trainer.step(windows, kSettings);
  EXPECT_EQ(report.loss, before.loss);
  EXPECT_EQ(report.mtp_losses, before.mtp_losses);
  EXPECT_EQ(report.tokens, before.tokens);
  EXPECT_EQ(report.not_finite, "");
  EXPECT_GT(report.balance_loss, 0);
  // Layer 1 and the modules.
  EXPECT_EQ(report.moe_layers, (std::vector<int64_t>{1, 2, 3}));
  for (size_t i = 0; i < 3; ++i) {
    int64_t choices = 0;
    for (const int64_t n : report.expert_load[i]) choices += n;
    EXPECT_EQ(choices, 2 * 3 * (19 - static_cast<int64_t>(i)));
  }
}

// All numbers of a few steps, of different windows.
std::map<std::string, std::vector<float>> state_after(Trainer& trainer, int first, int steps,
                                                      std::vector<double>* losses = nullptr) {
  for (int step = first; step < first + steps; ++step) {
    const auto windows = random_windows(3, 24, 50, static_cast<uint32_t>(step));
    const StepReport report = trainer.step(windows, kSettings);
    if (losses != nullptr) losses->push_back(report.loss);
  }
  return state_of(trainer);
}

TEST(TrainerTest, TheSameRunTwiceGivesTheSameBits) {
  for (const auto dtype : {TrainingDType::kFloat32, TrainingDType::kBFloat16}) {
    const ThreadCount count(2);
    Trainer a = Trainer::from_config(small_config(), 1, options_of(dtype));
    Trainer b = Trainer::from_config(small_config(), 1, options_of(dtype));
    Trainer other_seed = Trainer::from_config(small_config(), 2, options_of(dtype));
    std::vector<double> losses_a, losses_b;
    const auto expected = state_after(a, 0, 5, &losses_a);
    EXPECT_EQ(state_after(b, 0, 5, &losses_b), expected);
    EXPECT_EQ(losses_a, losses_b);
    EXPECT_NE(state_after(other_seed, 0, 5), expected);
  }
}

TEST(TrainerTest, ALoadedStateGoesOnWithTheSameBits) {
  for (const auto dtype : {TrainingDType::kFloat32, TrainingDType::kBFloat16}) {
    Trainer whole = Trainer::from_config(small_config(), 1, options_of(dtype));
    state_after(whole, 0, 4);
    const TemporaryFolder folder;
    whole.save_state(folder.path());
    const auto at_save = state_of(whole);
    std::vector<double> losses, losses_again;
    const auto expected = state_after(whole, 4, 3, &losses);

    // Into a trainer that has gone elsewhere.
    Trainer resumed = Trainer::from_config(small_config(), 2, options_of(dtype));
    state_after(resumed, 10, 2);
    resumed.load_state(folder.path());
    EXPECT_EQ(state_of(resumed), at_save);
    EXPECT_EQ(state_after(resumed, 4, 3, &losses_again), expected);
    EXPECT_EQ(losses_again, losses);
    EXPECT_EQ(expected.at("step"), std::vector<float>{7});
  }
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing was thrown";
}

TEST(TrainerTest, AnotherModelsStateIsRefusedAndChangesNothing) {
  Trainer trainer = Trainer::from_config(small_config(), 1, options_of(TrainingDType::kFloat32));
  state_after(trainer, 0, 2);
  const auto before = state_of(trainer);
  const auto refused = [&](const DeepseekV3Config& config) {
    const TemporaryFolder folder;
    Trainer::from_config(config, 3, options_of(TrainingDType::kFloat32)).save_state(folder.path());
    const std::string message = message_of([&] { trainer.load_state(folder.path()); });
    EXPECT_EQ(state_of(trainer), before);
    return message;
  };
  DeepseekV3Config wider = small_config();
  wider.moe_intermediate_size += 1;
  std::string message = refused(wider);
  EXPECT_NE(message.find("experts.0.gate_proj.weight' F32 [10, 24], found F32 [11, 24]: the state "
                         "of another model"),
            std::string::npos)
      << message;
  message = refused(small_config(0));  // lacks the module
  EXPECT_NE(message.find("found none: the state of another model"), std::string::npos) << message;
  message = refused(small_config(2));  // has one more
  EXPECT_NE(message.find("tensors, expected"), std::string::npos) << message;

  const TemporaryFolder empty;
  EXPECT_THROW(trainer.load_state(empty.path()), Error);
  trainer.save_model(empty.path());
  std::filesystem::create_directory(empty / "optimizer");
  std::filesystem::copy(empty / "model.safetensors", empty / "optimizer");
  message = message_of([&] { trainer.load_state(empty.path()); });
  EXPECT_NE(message.find("not the state of a training run"), std::string::npos) << message;
  EXPECT_EQ(state_of(trainer), before);
}

TEST(TrainerTest, MicroBatchesGiveTheSameGradients) {
  std::mt19937 random(4);
  std::vector<Window> windows;
  for (int i = 0; i < 5; ++i) windows.push_back(random_window({7 + i, 12}, 50, random));
  std::vector<std::map<std::string, std::vector<float>>> states;
  std::vector<StepReport> reports;
  for (const int64_t part : {0, 1, 2, 5, 100}) {
    TrainerOptions options = options_of(TrainingDType::kFloat32);
    options.micro_batch_windows = part;
    options.attention_across_documents = false;
    Trainer trainer = Trainer::from_config(small_config(2), 1, options);
    reports.push_back(trainer.step(windows, kSettings));
    states.push_back(state_of(trainer));
    EXPECT_EQ(trainer.evaluate(windows).tokens, reports[0].tokens);
  }
  for (size_t i = 1; i < states.size(); ++i) {
    // After the first step the first moment is the gradient times a number.
    EXPECT_LT(relative_difference(states[i], states[0], "exp_avg."), 1e-6);
    EXPECT_NEAR(reports[i].loss, reports[0].loss, 1e-6);
    EXPECT_NEAR(reports[i].mtp_losses[1], reports[0].mtp_losses[1], 1e-6);
    EXPECT_NEAR(reports[i].balance_loss / reports[0].balance_loss, 1, 1e-6);
    EXPECT_EQ(reports[i].expert_load, reports[0].expert_load);
  }
  // Five windows or more together are one part.
  EXPECT_EQ(states[3], states[0]);
  EXPECT_EQ(states[4], states[0]);
}

TEST(TrainerTest, RecomputingGivesTheSameBitsInLessMemory) {
  for (const auto dtype : {TrainingDType::kFloat32, TrainingDType::kBFloat16}) {
    TrainerOptions options = options_of(dtype);
    Trainer keeping = Trainer::from_config(small_config(), 1, options);
    options.recompute = true;
    Trainer recomputing = Trainer::from_config(small_config(), 1, options);
    EXPECT_EQ(state_after(recomputing, 0, 3), state_after(keeping, 0, 3));
    EXPECT_GT(recomputing.activation_bytes(), 0);
    EXPECT_LT(recomputing.activation_bytes(), keeping.activation_bytes());
  }
}

TEST(TrainerTest, DocumentsInOneWindowAreAsGoodAsWindowsOfTheirOwn) {
  std::mt19937 random(5);
  const Window both = random_window({14, 19}, 50, random);
  std::vector<Window> apart(2);
  for (size_t i = 0; i < both.tokens.size(); ++i) {
    apart[both.documents[i]].tokens.push_back(both.tokens[i]);
    apart[both.documents[i]].documents.push_back(0);
  }
  TrainerOptions options = options_of(TrainingDType::kFloat32);
  options.attention_across_documents = false;
  Trainer together = Trainer::from_config(small_config(2), 1, options);
  options.attention_across_documents = true;
  Trainer separate = Trainer::from_config(small_config(2), 1, options);
  Trainer across = Trainer::from_config(small_config(2), 1, options);
  const std::vector<Window> one = {both};
  const StepReport expected = separate.step(apart, kSettings);
  const StepReport found = together.step(one, kSettings);
  const StepReport other = across.step(one, kSettings);
  EXPECT_EQ(found.loss, expected.loss);
  EXPECT_EQ(found.mtp_losses, expected.mtp_losses);
  EXPECT_EQ(state_of(together), state_of(separate));
  EXPECT_EQ(found.tokens, 13 + 18);
  EXPECT_EQ(other.tokens, 32);
  EXPECT_GT(std::fabs(other.loss - expected.loss), 1e-3);
}

TEST(TrainerTest, ABfloat16StepIsCloseToAFloat32Step) {
  Trainer exact = Trainer::from_config(small_config(), 1, options_of(TrainingDType::kFloat32));
  Trainer rounded = Trainer::from_config(small_config(), 1, options_of(TrainingDType::kBFloat16));
  const std::vector<Window> windows = random_windows(4, 40, 50);
  const StepReport a = exact.step(windows, kSettings), b = rounded.step(windows, kSettings);
  // A number in bfloat16 is off by 1/512 in the mean; a logit is a sum of many products of those.
  EXPECT_NEAR(b.loss / a.loss, 1, 1e-3);
  EXPECT_NEAR(b.grad_norm / a.grad_norm, 1, 0.02);
  // A token whose expert changes at a near-tie adds to the rounding.
  EXPECT_LT(relative_difference(state_of(rounded), state_of(exact), "exp_avg."), 0.2);
}

// Writes a number into a trainer's weight.
void spoil(const Trainer& trainer, const std::string& tensor, float value) {
  model::ModelWeights weights = trainer.model().loaded().weights;  // shares their memory
  for (const auto& slot :
       model::enumerate_tensors(trainer.config(), model::Head::kCausalLm, true, weights)) {
    if (slot.name != tensor) continue;
    slot.tensor->as_mutable<float>()[3] = value;
    return;
  }
  FAIL() << "no tensor " << tensor;
}

// NaN is equal to itself here.
bool same_bits(const std::map<std::string, std::vector<float>>& a,
               const std::map<std::string, std::vector<float>>& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [name, values] : a) {
    const std::vector<float>& others = b.at(name);
    if (values.size() != others.size() ||
        std::memcmp(values.data(), others.data(), values.size() * sizeof(float)) != 0)
      return false;
  }
  return true;
}

TEST(TrainerTest, NotANumberIsReportedWithATensorAndChangesNothing) {
  const std::vector<Window> windows = random_windows(2, 20, 50);
  for (const char* name :
       {"model.norm.weight", "model.layers.0.self_attn.kv_b_proj.weight",
        "model.layers.1.mlp.gate.weight", "model.layers.1.mlp.shared_experts.up_proj.weight",
        "model.layers.2.eh_proj.weight", "lm_head.weight"}) {
    Trainer trainer = Trainer::from_config(small_config(), 1, options_of(TrainingDType::kFloat32));
    spoil(trainer, name, NAN);
    const auto before = state_of(trainer);
    const StepReport report = trainer.step(windows, kSettings);
    EXPECT_TRUE(report.not_finite.starts_with("gradient of ")) << name << report.not_finite;
    EXPECT_NE(report.not_finite.find(".weight, element "), std::string::npos) << report.not_finite;
    EXPECT_TRUE(same_bits(state_of(trainer), before)) << name;
  }
  // The same weights without it are fine.
  Trainer fine = Trainer::from_config(small_config(), 1, options_of(TrainingDType::kFloat32));
  spoil(fine, "lm_head.weight", 0.5f);
  EXPECT_EQ(fine.step(windows, kSettings).not_finite, "");
}

TEST(TrainerTest, AStepAboveTheLossLimitChangesNothing) {
  Trainer trainer = Trainer::from_config(small_config(), 1, options_of(TrainingDType::kBFloat16));
  const std::vector<Window> windows = random_windows(2, 20, 50);
  const auto before = state_of(trainer);
  StepSettings settings = kSettings;
  settings.loss_limit = trainer.evaluate(windows).loss - 0.01;
  EXPECT_TRUE(trainer.step(windows, settings).over_loss_limit);
  EXPECT_EQ(state_of(trainer), before);
  settings.loss_limit += 0.02;
  EXPECT_FALSE(trainer.step(windows, settings).over_loss_limit);
  EXPECT_NE(state_of(trainer), before);
}

TEST(TrainerTest, WindowsThatDoNotFitAreRefused) {
  Trainer trainer = Trainer::from_config(small_config(), 1, options_of(TrainingDType::kFloat32));
  const auto refused = [&](const std::vector<Window>& windows) {
    EXPECT_THROW(trainer.step(windows, kSettings), Error);
    EXPECT_THROW(trainer.evaluate(windows), Error);
  };
  refused({});
  refused({Window{{1}, {0}}});
  refused({Window{{1, 2, 3}, {0, 0}}});
  refused({Window{{1, 50}, {0, 0}}});
  refused({Window{{-1, 2}, {0, 0}}});
}

TEST(TrainerTest, GradientsAreClippedToTheNorm) {
  const std::vector<Window> windows = random_windows(2, 20, 50);
  const auto first_moment = [&](double max_norm) {
    TrainerOptions options = options_of(TrainingDType::kFloat32);
    options.max_grad_norm = max_norm;
    Trainer trainer = Trainer::from_config(small_config(), 1, options);
    const double norm = trainer.step(windows, kSettings).grad_norm;
    double sum = 0;
    for (const auto& [name, values] : state_of(trainer)) {
      if (!name.starts_with("exp_avg.")) continue;
      for (const float m : values) sum += double{m} * m;
    }
    return std::pair(norm, std::sqrt(sum) / 0.1);  // 1 - beta1
  };
  const auto [norm, unclipped] = first_moment(0);
  EXPECT_NEAR(unclipped / norm, 1, 1e-5);
  EXPECT_NEAR(first_moment(norm / 4).second / (norm / 4), 1, 1e-5);
  EXPECT_NEAR(first_moment(norm * 4).second / norm, 1, 1e-5);
}

TEST(TrainerTest, TiedEmbeddingsStayOneTensor) {
  DeepseekV3Config config = small_config();
  config.tie_word_embeddings = true;
  Trainer trainer = Trainer::from_config(config, 1, options_of(TrainingDType::kFloat32));
  const auto state = state_after(trainer, 0, 3);
  EXPECT_FALSE(state.contains("master.lm_head.weight"));
  const model::ModelWeights& weights = trainer.model().loaded().weights;
  EXPECT_EQ(weights.lm_head.weight.raw(), weights.embed_tokens.weight.raw());
}

TEST(TrainerTest, ASavedModelGivesTheLossesOfEvaluate) {
  for (const bool tied : {false, true}) {
    DeepseekV3Config config = small_config();
    config.tie_word_embeddings = tied;
    Trainer trainer = Trainer::from_config(config, 1, options_of(TrainingDType::kFloat32));
    state_after(trainer, 0, 5);
    const TemporaryFolder folder;
    trainer.save_model(folder.path());
    LoadOptions load;
    load.load_mtp = true;
    const auto model = DeepseekV3ForCausalLM::from_pretrained(folder.path(), load);
    const std::vector<Window> windows = random_windows(1, 30, 50, 77);
    const Evaluation expected = trainer.evaluate(windows);

    ForwardArgs args;
    args.input_ids =
        id_row(std::vector<int64_t>(windows[0].tokens.begin(), windows[0].tokens.end()));
    args.labels = args.input_ids;
    args.output_hidden_states = true;
    const ModelOutput out = model.forward(args);
    EXPECT_NEAR(out.loss.as<float>()[0], expected.loss, 2e-6 * expected.loss);
    const ModelOutput of_trainer = trainer.model().forward(args);
    EXPECT_EQ(of_trainer.loss.as<float>()[0], out.loss.as<float>()[0]);
    const MtpOutput mtp = model.forward_mtp(args.input_ids, out.hidden_states.back(), args.labels);
    EXPECT_NEAR(mtp.loss.as<float>()[0], expected.mtp_losses[0], 2e-6 * expected.mtp_losses[0]);

    // And a trainer that starts from it has the same.
    const Trainer again =
        Trainer::from_checkpoint(folder.path(), 9, options_of(TrainingDType::kFloat32));
    EXPECT_EQ(again.evaluate(windows).loss, expected.loss);
    EXPECT_EQ(again.evaluate(windows).mtp_losses, expected.mtp_losses);
  }
}

struct Violation {
  double first = 0;  // step
  double last = 0;   // mean over the last steps
};

// MaxVio of the MoE layer in a run on tokens whose frequencies fall as 1 / rank, so that the router
// comes to prefer the experts of the frequent ones.
Violation train_on_skewed_tokens(double bias_update_speed) {
  const ThreadCount count(1);  // for so little work the fastest
  DeepseekV3Config config = tiny_config();
  config.n_routed_experts = 8;
  config.n_group = config.topk_group = 1;
  config.initializer_range = 0.3;
  Trainer trainer = Trainer::from_config(config, 1, options_of(TrainingDType::kFloat32));
  std::mt19937 random(6);
  constexpr int kSteps = 300, kLast = 50;
  Violation result;
  for (int step = 0; step < kSteps; ++step) {
    std::vector<Window> windows = random_windows(8, 33, 50);
    for (Window& w : windows) {
      for (int32_t& id : w.tokens)  // the logarithm of the rank is uniform
        id = static_cast<int32_t>(std::pow(50.0, static_cast<double>(random()) * 0x1p-32)) - 1;
    }
    const StepReport report =
        trainer.step(windows, {.learning_rate = 1e-3, .bias_update_speed = bias_update_speed});
    const double violation = max_violation(report.expert_load[0]);
    if (step == 0) result.first = violation;
    if (step >= kSteps - kLast) result.last += violation / kLast;
  }
  return result;
}

// Measured: 1.14 at first; in the end 0.3 with balancing, of which 0.2 is what 66 tokens an expert
// vary by chance, and 3.0 without: all tokens on the same two of eight experts.
TEST(TrainerTest, BalancingBringsTheViolationDownAndWithoutItTheRouterCollapses) {
  const Violation balanced = train_on_skewed_tokens(0.003), free = train_on_skewed_tokens(0);
  EXPECT_GT(balanced.first, 0.8);
  EXPECT_EQ(free.first, balanced.first);
  EXPECT_LT(balanced.last, 0.6);
  EXPECT_GT(free.last, 2);
}

TEST(MaxViolationTest, IsTheExcessOfTheLargestOverTheMean) {
  EXPECT_EQ(max_violation(std::vector<int64_t>{4, 4, 4}), 0);
  EXPECT_EQ(max_violation(std::vector<int64_t>{0, 9, 0}), 2);
  EXPECT_EQ(max_violation(std::vector<int64_t>{0, 0}), 0);
}

}  // namespace
}  // namespace dsv3::training
