#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dsv3/tensor.h"

namespace dsv3::quantization {

/// What a mixture looks at in a model.
struct MixtureModel {
  int64_t n_layers = 0;  ///< MTP modules included
  int64_t n_routed_experts = 0;
  bool tied_embeddings = false;  ///< token_embd is the output head too
  bool has_imatrix = false;
};

/// llama.cpp's mixtures of types, by its names: Q4_K_M gives most tensors Q4_K and some Q6_K.
/// Source: what llama-quantize of llama.cpp 0.7.0 does (tests/golden-mixtures).
class Mixture {
 public:
  /// Any case; "Q4_K" is Q4_K_M and so on, as there. Throws Error naming all for an unknown name.
  static Mixture named(std::string_view name);
  static std::vector<std::string_view> names();

  std::string_view name() const { return name_; }
  /// llama.cpp's number of the mixture, for the key "general.file_type".
  uint32_t file_type() const { return file_type_; }
  /// The type that most tensors get, or all with `pure`.
  DType base() const { return base_; }

  /// The type for a matrix. `name`: as in GGUF files; `layer`: -1 for those outside of layers. Does
  /// not look at the length of rows: see fitting_type.
  DType type_of(const MixtureModel& model, std::string_view name, int64_t layer) const;

 private:
  Mixture(std::string_view name, uint32_t file_type, DType base)
      : name_(name), file_type_(file_type), base_(base) {}
  bool is(std::string_view name) const { return name_ == name; }
  DType attention_value(const MixtureModel& model, int64_t layer) const;
  DType attention_output(const MixtureModel& model) const;
  DType ffn_down(const MixtureModel& model, int64_t layer) const;

  std::string_view name_;
  uint32_t file_type_;
  DType base_;
};

/// The type itself if rows of `cols` are whole blocks of it, else the one that llama.cpp takes
/// instead: of 32 elements a block, or F16.
DType fitting_type(DType type, int64_t cols);

}  // namespace dsv3::quantization
