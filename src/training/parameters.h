#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dsv3/config.h"
#include "dsv3/tensor.h"
#include "model/pretrained.h"
#include "model/weights.h"
#include "training/trainer.h"

namespace dsv3::training {

/// A tensor that is trained and where its numbers lie in the arrays of all parameters.
struct Parameter {
  std::string name;  ///< official
  Shape shape;
  int64_t begin = 0;    ///< first element
  int64_t count = 0;    ///< elements
  bool vector = false;  ///< a norm or a bias
  bool bf16 = false;    ///< computed with in bfloat16, of a float32 master
};

/// The state of training: float32 masters, gradients and the two moments of all parameters, each
/// one array, and the model's weights and gradients as views of them. e_score_correction_bias is no
/// parameter: it lives in `weights` alone.
class Parameters {
 public:
  /// Of a model with a head; `mtp`: and its multi-token prediction modules.
  Parameters(const DeepseekV3Config& config, TrainingDType dtype, model::Head head, bool mtp);
  Parameters(Parameters&&) = default;
  Parameters& operator=(Parameters&&) = default;

  std::span<const Parameter> all() const { return parameters_; }
  int64_t count() const { return count_; }  ///< elements of all, without what aligns them
  int64_t size() const { return size_; }    ///< of each array

  model::ModelWeights weights;    ///< what is computed with: views of masters, or their bfloat16
  model::ModelWeights gradients;  ///< views of `gradient()`
  /// e_score_correction_bias of every MoE layer with its name; MTP modules' last.
  struct Bias {
    std::string name;
    int64_t layer = 0;
    Tensor values;
  };
  std::vector<Bias> biases;

  std::span<float> masters() { return masters_.as_mutable<float>(); }
  std::span<float> gradient() { return gradient_.as_mutable<float>(); }
  std::span<float> moment1() { return moment1_.as_mutable<float>(); }
  std::span<float> moment2() { return moment2_.as_mutable<float>(); }
  std::span<const float> masters() const { return masters_.as<float>(); }
  std::span<const float> gradient() const { return gradient_.as<float>(); }
  std::span<const float> moment1() const { return moment1_.as<float>(); }
  std::span<const float> moment2() const { return moment2_.as<float>(); }
  /// A parameter's master or moments, sharing memory.
  Tensor master(const Parameter& p) const { return view(masters_, p); }
  Tensor moment1(const Parameter& p) const { return view(moment1_, p); }
  Tensor moment2(const Parameter& p) const { return view(moment2_, p); }
  Tensor gradient(const Parameter& p) const { return view(gradient_, p); }
  /// The bfloat16 numbers of a parameter, or null.
  uint16_t* bf16(const Parameter& p);
  /// Takes the masters and biases from a model's weights (of the same configuration, in float32);
  /// what the model lacks stays as it is.
  void copy_from(const model::LoadedModel& model);
  /// Makes the bfloat16 weights of the masters.
  void round_masters();
  void clear_gradient();

 private:
  static Tensor view(const Tensor& array, const Parameter& p) {
    return array.slice(p.begin, p.begin + p.count).reshape(p.shape);
  }

  std::vector<Parameter> parameters_;
  int64_t count_ = 0, size_ = 0;
  Tensor masters_, gradient_, moment1_, moment2_, bf16_;
};

}  // namespace dsv3::training
