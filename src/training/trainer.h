#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dsv3/config.h"
#include "dsv3/model.h"
#include "training/window.h"

namespace dsv3::training {

/// In what numbers weights are held and multiplied. Sums, norms, the router, softmax, losses and
/// the optimizer are float32 in both.
enum class TrainingDType : uint8_t {
  kFloat32,
  kBFloat16,  ///< products in bfloat16, of bfloat16 weights that follow float32 masters
};

/// AdamW with decoupled weight decay (report 4.2; torch.optim.AdamW).
struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  bool decay_vectors = false;  ///< also norms and biases
};

struct TrainerOptions {
  TrainingDType dtype = TrainingDType::kBFloat16;
  AdamWOptions adamw;
  double max_grad_norm = 1;  ///< clipping by the global norm; 0: none
  /// Clip by the norm as torch computes it on a CPU, in float32 sums that are off by 1e-5 and more
  /// in large tensors: for following a run of transformers step by step.
  bool torch_grad_norm = false;
  /// Windows that go through the model together; a step's gradients are summed over as many such
  /// parts as it takes. 0: all of a step's.
  int64_t micro_batch_windows = 0;
  /// Recomputes the outputs of RMSNorm, of the MLA up-projections and of SwiGLU in the backward
  /// pass instead of keeping them (report 3.2.3).
  bool recompute = false;
  /// Whether tokens attend to earlier documents of their window, and an end of document predicts
  /// the next one's beginning.
  bool attention_across_documents = true;
};

/// What schedules change from step to step.
struct StepSettings {
  double learning_rate = 0;
  double bias_update_speed = 0;   ///< gamma: what balancing adds to or takes from a bias (2.1.2)
  double balance_loss_alpha = 0;  ///< factor of the complementary sequence-wise balance loss
  double mtp_loss_weight = 0;     ///< lambda (2.2)
  /// A step whose loss is above leaves everything as it is, and its report says so. 0: no limit.
  double loss_limit = 0;
};

/// What a step did.
struct StepReport {
  double loss = 0;                 ///< cross-entropy of the next token, mean, before the update
  std::vector<double> mtp_losses;  ///< of each depth
  double balance_loss = 0;
  double grad_norm = 0;  ///< global, before clipping
  /// Tokens that chose each expert, [MoE layers][n_routed_experts]; MTP modules' layers last.
  std::vector<std::vector<int64_t>> expert_load;
  std::vector<int64_t> moe_layers;  ///< which layers those are
  int64_t tokens = 0;               ///< predicted
  /// Empty, or what is not a number: "gradient of model.layers.3...: NaN". Then nothing was
  /// changed.
  std::string not_finite;
  bool over_loss_limit = false;  ///< the loss is above the settings' limit; nothing was changed
};

/// max(load) / mean(load) - 1 (report 4.5.3's MaxVio).
double max_violation(std::span<const int64_t> load);

/// Mean losses over windows, as evaluate() gives them.
struct Evaluation {
  double loss = 0;
  std::vector<double> mtp_losses;
  int64_t tokens = 0;
};

/// A model with its gradients and its optimizer's state. One call at a time. The same calls give
/// the same bits, with the same number of threads and the same instruction set.
class Trainer {
 public:
  /// New weights as DeepseekV3PreTrainedModel._init_weights makes them: normal with
  /// initializer_range, norms 1, biases 0.
  static Trainer from_config(const DeepseekV3Config& config, uint64_t seed,
                             const TrainerOptions& options);
  /// Weights of an official checkpoint. Missing MTP modules are made anew from `seed`.
  static Trainer from_checkpoint(const std::filesystem::path& folder, uint64_t seed,
                                 const TrainerOptions& options);
  Trainer(Trainer&&) noexcept;
  Trainer& operator=(Trainer&&) noexcept;
  ~Trainer();

  const DeepseekV3Config& config() const;
  int64_t num_parameters() const;
  /// Of the activations that a step keeps for its backward pass.
  int64_t activation_bytes() const;
  /// Multiplications and additions of one token's forward and backward pass (for MFU).
  double flops_per_token(int64_t sequence_length) const;

  /// Forward, backward, clipping, AdamW and the update of the correction biases. If something is
  /// not finite, nothing is changed and the report says what.
  StepReport step(std::span<const Window> windows, const StepSettings& settings);
  Evaluation evaluate(std::span<const Window> windows) const;
  /// The model as it is now, for generating text; its weights change with the next step.
  DeepseekV3ForCausalLM model() const;

  /// Writes the model in the official layout (model.safetensors, config.json: what from_pretrained
  /// loads, in the weights' type) into a folder that exists.
  void save_model(const std::filesystem::path& folder) const;
  /// Writes what a run goes on from bit for bit: masters, moments and number of steps
  /// (folder "optimizer": safetensors), synced to disk.
  void save_state(const std::filesystem::path& folder) const;
  /// Takes up what save_state wrote. Throws Error, and changes nothing, if it is another model's.
  void load_state(const std::filesystem::path& folder);

 private:
  struct Impl;
  explicit Trainer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace dsv3::training
