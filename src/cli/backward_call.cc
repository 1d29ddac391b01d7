#include "cli/backward_call.h"

#include "base/error.h"
#include "model/gradients.h"
#include "model/pretrained.h"
#include "training/adamw.h"
#include "training/parameters.h"

namespace dsv3::cli {
namespace {

model::Head head_of(const std::string& class_name) {
  if (class_name == "DeepseekV3ForCausalLM") return model::Head::kCausalLm;
  if (class_name == "DeepseekV3ForSequenceClassification")
    return model::Head::kSequenceClassification;
  if (class_name == "DeepseekV3ForTokenClassification") return model::Head::kTokenClassification;
  fail(
      "class '{}' has no loss to go back from (DeepseekV3ForCausalLM, "
      "DeepseekV3ForSequenceClassification, DeepseekV3ForTokenClassification)",
      class_name);
}

struct Optimizer {
  training::AdamWOptions adamw;
  double lr = 0, max_grad_norm = 0;
  int64_t steps = 0;
};

Optimizer read_optimizer(const Json& json) {
  Optimizer o;
  if (json.is_null()) return o;
  if (json.at("type") != "AdamW")
    fail("optimizer: expected AdamW, found {}", json.at("type").dump());
  o.lr = json.at("lr").get<double>();
  o.adamw = {.beta1 = json.at("betas").at(0).get<double>(),
             .beta2 = json.at("betas").at(1).get<double>(),
             .eps = json.at("eps").get<double>(),
             .weight_decay = json.at("weight_decay").get<double>(),
             .decay_vectors = true};  // torch's, with one group of parameters
  o.max_grad_norm = json.value("max_grad_norm", 0.0);
  o.steps = json.at("steps").get<int64_t>();
  return o;
}

}  // namespace

Tensors run_backward(const std::filesystem::path& folder, const Call& call,
                     const ForwardArgs& args) {
  const Optimizer optimizer = read_optimizer(call.optimizer);
  const auto loaded =
      model::load_pretrained(folder, head_of(call.class_name), {.dtype = WeightDType::kFloat32});
  training::Parameters parameters(loaded->config, training::TrainingDType::kFloat32, loaded->head,
                                  false);
  parameters.copy_from(*loaded);
  model::LoadedModel trained = *loaded;
  trained.weights = parameters.weights;

  Tensors results;
  std::vector<float> losses, norms;
  for (int64_t step = 1; step <= std::max<int64_t>(1, optimizer.steps); ++step) {
    parameters.clear_gradient();
    const ModelOutput out = model::forward_backward(trained, args, parameters.gradients);
    if (step == 1) {
      results["loss"] = out.loss;
      results["logits"] = out.logits;
      for (const training::Parameter& p : parameters.all())
        results["grads." + p.name] = parameters.gradient(p).clone();
    }
    if (optimizer.steps == 0) return results;
    losses.push_back(out.loss.as<float>()[0]);
    const double norm = training::gradient_norm(parameters);
    norms.push_back(static_cast<float>(norm));
    const double limit = optimizer.max_grad_norm;
    training::adamw_step(optimizer.adamw, step, optimizer.lr,
                         limit > 0 ? std::min(1.0, limit / (norm + 1e-6)) : 1.0, parameters);
  }
  for (const training::Parameter& p : parameters.all())
    results["params_after." + p.name] = parameters.master(p);
  results["losses"] = Tensor::from(std::span<const float>(losses), {optimizer.steps});
  results["grad_norms"] = Tensor::from(std::span<const float>(norms), {optimizer.steps});
  return results;
}

}  // namespace dsv3::cli
