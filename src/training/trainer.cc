#include "training/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "model/pretrained.h"
#include "model/tensor_map.h"
#include "training/adamw.h"
#include "training/initialization.h"
#include "training/objective.h"
#include "training/parameters.h"

namespace dsv3::training {

double max_violation(std::span<const int64_t> load) {
  const auto sum = std::accumulate(load.begin(), load.end(), int64_t{0});
  if (sum == 0) return 0;
  const double mean = static_cast<double>(sum) / static_cast<double>(load.size());
  return static_cast<double>(*std::max_element(load.begin(), load.end())) / mean - 1;
}

namespace {

constexpr const char* kStateFolder = "optimizer";
constexpr const char* kStep = "step";

/// The class that can be made of a LoadedModel.
struct TrainedModel : DeepseekV3ForCausalLM {
  explicit TrainedModel(std::shared_ptr<const model::LoadedModel> loaded)
      : DeepseekV3ForCausalLM(std::move(loaded)) {}
};

/// 2.1.2: a bias goes down by `speed` if its expert has more than the mean of tokens, up if less.
void update_bias(std::span<const int64_t> load, double speed, std::span<float> bias) {
  const auto sum = std::accumulate(load.begin(), load.end(), int64_t{0});
  const auto n = static_cast<int64_t>(load.size());
  for (int64_t e = 0; e < n; ++e) {
    const int64_t error = sum - load[e] * n;  // times n, in integers: no rounding decides the sign
    if (error != 0) bias[e] += static_cast<float>(error > 0 ? speed : -speed);
  }
}

/// The losses' share in the objective: means over what is predicted; lambda / D for each module.
LossWeights loss_weights(const std::vector<int64_t>& predicted, const StepSettings& settings) {
  LossWeights weights;
  const auto depth = static_cast<double>(predicted.size() - 1);
  for (size_t k = 0; k < predicted.size(); ++k) {
    const double share = k == 0 ? 1.0 : settings.mtp_loss_weight / depth;
    weights.cross_entropy.push_back(predicted[k] == 0 ? 0.0
                                                      : share / static_cast<double>(predicted[k]));
  }
  weights.balance_per_token =
      settings.balance_loss_alpha / static_cast<double>(std::max<int64_t>(1, predicted[0]));
  return weights;
}

/// What a run goes on from, but the number of steps; the tensors share the parameters' memory.
std::vector<NamedTensor> state_tensors(const Parameters& parameters) {
  std::vector<NamedTensor> tensors;
  for (const Parameter& p : parameters.all()) {
    tensors.push_back({"master." + p.name, parameters.master(p)});
    tensors.push_back({"exp_avg." + p.name, parameters.moment1(p)});
    tensors.push_back({"exp_avg_sq." + p.name, parameters.moment2(p)});
  }
  for (const Parameters::Bias& bias : parameters.biases)
    tensors.push_back({"buffer." + bias.name, bias.values});
  return tensors;
}

}  // namespace

struct Trainer::Impl {
  DeepseekV3Config config;
  TrainerOptions options;
  Parameters parameters;
  mutable Objective objective;
  int64_t steps = 0;  // of the optimizer
  std::filesystem::path source;

  Impl(const DeepseekV3Config& c, const TrainerOptions& o)
      : config(c),
        options(o),
        parameters(config, o.dtype, model::Head::kCausalLm, true),
        objective(config, o.dtype == TrainingDType::kBFloat16 ? DType::kBF16 : DType::kF32,
                  o.recompute) {}

  std::shared_ptr<const model::LoadedModel> loaded() const {
    auto model = std::make_shared<model::LoadedModel>();
    model->config = config;
    model->config.dtype = options.dtype == TrainingDType::kBFloat16 ? "bfloat16" : "float32";
    model->head = model::Head::kCausalLm;
    model->weights = parameters.weights;
    model->options.activations = ops::Activations::kFloat32;
    model->source = source;
    return model;
  }

  /// Calls f(part of the windows) for as many as go through the model together, `unlimited` if the
  /// options say no number.
  template <class F>
  void for_micro_batches(std::span<const Window> windows, int64_t unlimited, F&& f) const {
    const auto step = static_cast<size_t>(
        options.micro_batch_windows > 0 ? options.micro_batch_windows : unlimited);
    for (size_t i = 0; i < windows.size(); i += step)
      f(windows.subspan(i, std::min(step, windows.size() - i)));
  }

  void require_windows(std::span<const Window> windows) const {
    if (windows.empty()) fail("training: a step without windows");
    for (const Window& w : windows) {
      if (w.tokens.size() < 2 || w.documents.size() != w.tokens.size()) {
        fail(
            "training: a window of {} tokens and {} document numbers, expected two or more of each",
            w.tokens.size(), w.documents.size());
      }
      for (const int32_t id : w.tokens) {
        if (id < 0 || id >= config.vocab_size)
          fail("training: token {} is outside of the vocabulary [0, {})", id, config.vocab_size);
      }
    }
  }
};

Trainer::Trainer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Trainer::Trainer(Trainer&&) noexcept = default;
Trainer& Trainer::operator=(Trainer&&) noexcept = default;
Trainer::~Trainer() = default;

Trainer Trainer::from_config(const DeepseekV3Config& config, uint64_t seed,
                             const TrainerOptions& options) {
  DeepseekV3Config trained = config;
  trained.quantization_config.reset();  // weights are float32 or bfloat16 from now on
  auto impl = std::make_unique<Impl>(trained, options);
  initialize(trained, seed, impl->parameters);
  return Trainer(std::move(impl));
}

Trainer Trainer::from_checkpoint(const std::filesystem::path& folder, uint64_t seed,
                                 const TrainerOptions& options) {
  LoadOptions load;
  load.dtype = WeightDType::kFloat32;
  load.load_mtp = model::has_mtp_weights(DeepseekV3Config::from_file(folder),
                                         Checkpoint::open(folder, Checkpoint::Mode::kHeaderOnly));
  const auto loaded = model::load_pretrained(folder, model::Head::kCausalLm, load);
  Trainer trainer = from_config(loaded->config, seed, options);
  trainer.impl_->source = loaded->source;
  trainer.impl_->parameters.copy_from(*loaded);
  return trainer;
}

const DeepseekV3Config& Trainer::config() const { return impl_->config; }
int64_t Trainer::num_parameters() const { return impl_->parameters.count(); }
int64_t Trainer::activation_bytes() const { return impl_->objective.activation_bytes(); }

double Trainer::flops_per_token(int64_t sequence_length) const {
  const DeepseekV3Config& c = impl_->config;
  double per_token = 0;  // weights that a token meets
  for (const Parameter& p : impl_->parameters.all()) {
    if (p.vector || p.name == "model.embed_tokens.weight") continue;
    double count = static_cast<double>(p.count);
    if (p.name.find(".experts.") != std::string::npos &&
        p.name.find("shared_experts") == std::string::npos) {
      count *= static_cast<double>(c.num_experts_per_tok) / static_cast<double>(c.n_routed_experts);
    }
    per_token += count;
  }
  const auto head = static_cast<double>(c.vocab_size * c.hidden_size);
  if (c.tie_word_embeddings) per_token += head;
  per_token += head * static_cast<double>(c.num_nextn_predict_layers);
  // Scores and weighted values, with half the keys on average.
  const auto layers = static_cast<double>(c.num_hidden_layers + c.num_nextn_predict_layers);
  per_token += layers * static_cast<double>(c.num_attention_heads) *
               static_cast<double>(c.qk_head_dim() + c.v_head_dim) *
               static_cast<double>(sequence_length) / 2;
  return 6 * per_token;  // two operations, once forward and twice backward
}

StepReport Trainer::step(std::span<const Window> windows, const StepSettings& settings) {
  Impl& impl = *impl_;
  Parameters& parameters = impl.parameters;
  impl.require_windows(windows);
  const bool across = impl.options.attention_across_documents;
  const int64_t depth = impl.config.num_nextn_predict_layers;
  const auto predicted = predicted_tokens(pieces_of(windows, across), depth);
  if (predicted[0] == 0) fail("training: a step whose windows have nothing to predict");
  const LossWeights weights = loss_weights(predicted, settings);

  StepReport report;
  report.tokens = predicted[0];
  for (const Parameters::Bias& bias : parameters.biases) report.moe_layers.push_back(bias.layer);
  report.expert_load.assign(parameters.biases.size(),
                            std::vector<int64_t>(impl.config.n_routed_experts));
  parameters.clear_gradient();
  Losses sums{std::vector<double>(depth + 1)};
  impl.for_micro_batches(windows, std::ssize(windows), [&](std::span<const Window> part) {
    const Losses losses =
        impl.objective.differentiate(parameters.weights, pieces_of(part, across), weights,
                                     parameters.gradients, report.expert_load);
    for (size_t k = 0; k < sums.cross_entropy.size(); ++k)
      sums.cross_entropy[k] += losses.cross_entropy[k];
    sums.balance += losses.balance;
  });
  report.loss = sums.cross_entropy[0] / static_cast<double>(predicted[0]);
  for (int64_t k = 1; k <= depth; ++k) {
    const bool ran = predicted[k] > 0 && weights.cross_entropy[k] != 0;
    report.mtp_losses.push_back(ran ? sums.cross_entropy[k] / static_cast<double>(predicted[k])
                                    : 0.0);
  }
  report.balance_loss = sums.balance;
  report.grad_norm =
      impl.options.torch_grad_norm ? torch_gradient_norm(parameters) : gradient_norm(parameters);
  if (!std::isfinite(report.grad_norm)) {
    report.not_finite = first_not_finite(parameters);
    if (report.not_finite.empty()) report.not_finite = "norm of the gradients: too large";
    return report;
  }
  if (!std::isfinite(report.loss)) {
    report.not_finite = fmt::format("loss: {}", report.loss);
    return report;
  }
  if (settings.loss_limit > 0 && report.loss > settings.loss_limit) {
    report.over_loss_limit = true;
    return report;
  }
  const double limit = impl.options.max_grad_norm;
  const double scale = limit > 0 ? std::min(1.0, limit / (report.grad_norm + 1e-6)) : 1.0;
  adamw_step(impl.options.adamw, ++impl.steps, settings.learning_rate, scale, parameters);
  if (settings.bias_update_speed != 0) {
    for (size_t i = 0; i < parameters.biases.size(); ++i) {
      update_bias(report.expert_load[i], settings.bias_update_speed,
                  parameters.biases[i].values.as_mutable<float>());
    }
  }
  return report;
}

Evaluation Trainer::evaluate(std::span<const Window> windows) const {
  const Impl& impl = *impl_;
  impl.require_windows(windows);
  const bool across = impl.options.attention_across_documents;
  const int64_t depth = impl.config.num_nextn_predict_layers;
  const auto predicted = predicted_tokens(pieces_of(windows, across), depth);
  std::vector<double> sums(depth + 1);
  const std::vector<double> all_modules(depth, 1.0);
  constexpr int64_t kTogether = 16;  // a validation may have any number
  impl.for_micro_batches(windows, kTogether, [&](std::span<const Window> part) {
    const Losses losses =
        impl.objective.evaluate(impl.parameters.weights, pieces_of(part, across), all_modules);
    for (size_t k = 0; k < sums.size(); ++k) sums[k] += losses.cross_entropy[k];
  });
  Evaluation result;
  result.tokens = predicted[0];
  const auto mean = [&](size_t k) {
    return predicted[k] == 0 ? 0.0 : sums[k] / static_cast<double>(predicted[k]);
  };
  result.loss = mean(0);
  for (size_t k = 1; k < sums.size(); ++k) result.mtp_losses.push_back(mean(k));
  return result;
}

DeepseekV3ForCausalLM Trainer::model() const { return TrainedModel(impl_->loaded()); }

void Trainer::save_model(const std::filesystem::path& folder) const {
  constexpr int64_t kShardBytes = 5'000'000'000;
  model::save_pretrained(*impl_->loaded(), folder, kShardBytes);
}

void Trainer::save_state(const std::filesystem::path& folder) const {
  std::vector<NamedTensor> tensors = state_tensors(impl_->parameters);
  tensors.push_back({kStep, Tensor::from({impl_->steps}, {1})});
  save_checkpoint(folder / kStateFolder, tensors);
}

void Trainer::load_state(const std::filesystem::path& folder) {
  const Checkpoint file = Checkpoint::open(folder / kStateFolder);
  std::vector<NamedTensor> tensors = state_tensors(impl_->parameters);
  const Tensor step = file.contains(kStep) ? file.tensor(kStep) : Tensor();
  if (!step.defined() || step.dtype() != DType::kI64 || step.numel() != 1)
    fail("{}: no tensor '{}' (I64 [1]): not the state of a training run", file.path().string(),
         kStep);
  for (const NamedTensor& t : tensors) {
    const auto found = file.find(t.name);
    if (!found || found->dtype != DType::kF32 || found->shape != t.tensor.shape()) {
      fail("{}: expected tensor '{}' F32 {}, found {}: the state of another model",
           file.path().string(), t.name, shape_string(t.tensor.shape()),
           found ? fmt::format("{} {}", dtype_name(found->dtype), shape_string(found->shape))
                 : "none");
    }
  }
  if (file.names().size() != tensors.size() + 1) {
    fail("{}: {} tensors, expected {}: the state of another model", file.path().string(),
         file.names().size(), tensors.size() + 1);
  }
  for (NamedTensor& t : tensors) {
    const Tensor from = file.tensor(t.name);
    std::memcpy(t.tensor.mutable_raw(), from.raw(), from.bytes());
  }
  impl_->steps = step.as<int64_t>()[0];
  impl_->parameters.round_masters();
}

}  // namespace dsv3::training
