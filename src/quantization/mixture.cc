#include "quantization/mixture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "base/error.h"

namespace dsv3::quantization {
namespace {

struct Known {
  std::string_view name;
  uint32_t file_type;  // llama.h: enum llama_ftype
  DType base;
};

constexpr Known kKnown[] = {
    {"F32", 0, DType::kF32},      {"F16", 1, DType::kF16},        {"BF16", 32, DType::kBF16},
    {"Q8_0", 7, DType::kQ8_0},    {"Q6_K", 18, DType::kQ6_K},     {"Q5_K_M", 17, DType::kQ5_K},
    {"Q5_K_S", 16, DType::kQ5_K}, {"Q5_1", 9, DType::kQ5_1},      {"Q5_0", 8, DType::kQ5_0},
    {"Q4_K_M", 15, DType::kQ4_K}, {"Q4_K_S", 14, DType::kQ4_K},   {"Q4_1", 3, DType::kQ4_1},
    {"Q4_0", 2, DType::kQ4_0},    {"IQ4_NL", 25, DType::kIQ4_NL}, {"IQ4_XS", 30, DType::kIQ4_XS},
    {"Q3_K_L", 13, DType::kQ3_K}, {"Q3_K_M", 12, DType::kQ3_K},   {"Q3_K_S", 11, DType::kQ3_K},
    {"Q2_K", 10, DType::kQ2_K},   {"Q2_K_S", 21, DType::kQ2_K},
};

constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
    {"Q3_K", "Q3_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"}};

// The first and the last eighth of the layers, and every third between.
bool use_more_bits(int64_t layer, int64_t n_layers) {
  const int64_t eighth = n_layers / 8;
  return layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2;
}

}  // namespace

std::vector<std::string_view> Mixture::names() {
  std::vector<std::string_view> names;
  for (const Known& known : kKnown) names.push_back(known.name);
  return names;
}

Mixture Mixture::named(std::string_view name) {
  std::string upper(name);
  std::ranges::transform(upper, upper.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  for (const auto& [alias, meant] : kAliases) {
    if (upper == alias) upper = meant;
  }
  for (const Known& known : kKnown) {
    if (known.name == upper) return {known.name, known.file_type, known.base};
  }
  fail("'{}' is no type, expected one of {}", name, fmt::join(names(), ", "));
}

DType Mixture::type_of(const MixtureModel& model, std::string_view name, int64_t layer) const {
  const bool is_k_quant_or_old = is_block_format(base_) && base_ != DType::kQ8_0;
  const std::string_view stem = layer < 0 ? name : name.substr(name.find('.', 4) + 1);
  if (name == "output.weight" || (name == "token_embd.weight" && model.tied_embeddings)) {
    return is_k_quant_or_old ? DType::kQ6_K : base_;
  }
  if (!is_k_quant_or_old) return base_;
  if (stem == "attn_kv_b.weight") return attention_value(model, layer);
  if (stem == "attn_output.weight") return attention_output(model);
  if (stem.starts_with("ffn_down")) return ffn_down(model, layer);
  return base_;
}

DType Mixture::attention_value(const MixtureModel& model, int64_t layer) const {
  DType type = base_;
  if (is("Q2_K")) type = DType::kQ3_K;
  if (is("Q3_K_M")) type = layer < 2 ? DType::kQ5_K : DType::kQ4_K;
  if (is("Q3_K_L")) type = DType::kQ5_K;
  if ((is("Q4_K_M") || is("Q5_K_M")) && use_more_bits(layer, model.n_layers)) type = DType::kQ6_K;
  if (is("Q4_K_S") && layer < 4) type = DType::kQ5_K;
  // llama.cpp means Mixtral.
  if (model.n_routed_experts == 8) type = DType::kQ8_0;
  return type;
}

DType Mixture::attention_output(const MixtureModel& model) const {
  if (model.n_routed_experts == 8) {
    for (const std::string_view name :
         {"Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ4_NL", "IQ4_XS"}) {
      if (is(name)) return DType::kQ5_K;
    }
    return base_;
  }
  if (is("Q2_K")) return DType::kQ3_K;
  if (is("Q3_K_M")) return DType::kQ4_K;
  if (is("Q3_K_L")) return DType::kQ5_K;
  return base_;
}

DType Mixture::ffn_down(const MixtureModel& model, int64_t layer) const {
  const int64_t n = model.n_layers;
  const bool early = layer < n / 8;
  if (is("Q2_K")) return DType::kQ3_K;
  if (is("Q2_K_S") && early) return DType::kQ4_K;
  if (is("Q3_K_M")) return layer < n / 16 ? DType::kQ5_K : DType::kQ4_K;
  if (is("Q3_K_L")) return DType::kQ5_K;
  if ((is("Q4_K_M") || is("Q5_K_M")) && use_more_bits(layer, n)) return DType::kQ6_K;
  if (is("Q4_K_S") && early) return DType::kQ5_K;
  if ((is("IQ4_NL") || is("IQ4_XS")) && early && !model.has_imatrix) return DType::kQ5_K;
  if (is("Q4_0") && early && model.has_imatrix) return DType::kQ4_1;
  if (is("Q5_0") && early && model.has_imatrix) return DType::kQ5_1;
  return base_;
}

DType fitting_type(DType type, int64_t cols) {
  const auto fits = [&](DType t) { return cols % dtype_block(t).elements == 0; };
  if (fits(type)) return type;
  switch (type) {
    case DType::kQ2_K:
    case DType::kQ3_K:
      type = DType::kQ4_0;
      break;
    case DType::kQ4_K:
      type = DType::kQ5_0;
      break;
    case DType::kQ5_K:
      type = DType::kQ5_1;
      break;
    case DType::kQ6_K:
      type = DType::kQ8_0;
      break;
    case DType::kIQ4_XS:
      type = DType::kIQ4_NL;
      break;
    default:
      break;
  }
  return fits(type) ? type : DType::kF16;
}

}  // namespace dsv3::quantization
