#include "model/gguf_names.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>
#include <utility>

namespace dsv3::model {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;

constexpr Pair kTop[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};

// What follows "model.layers.N." and "blk.N.".
constexpr Pair kInLayer[] = {
    {"input_layernorm.weight", "attn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.q_a_proj.weight", "attn_q_a.weight"},
    {"self_attn.q_a_proj.bias", "attn_q_a.bias"},
    {"self_attn.q_a_layernorm.weight", "attn_q_a_norm.weight"},
    {"self_attn.q_b_proj.weight", "attn_q_b.weight"},
    {"self_attn.kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight"},
    {"self_attn.kv_a_proj_with_mqa.bias", "attn_kv_a_mqa.bias"},
    {"self_attn.kv_a_layernorm.weight", "attn_kv_a_norm.weight"},
    {"self_attn.kv_b_proj.weight", "attn_kv_b.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.o_proj.bias", "attn_output.bias"},
    {"post_attention_layernorm.weight", "ffn_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
    {"mlp.gate.weight", "ffn_gate_inp.weight"},
    {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias"},
    {"mlp.shared_experts.gate_proj.weight", "ffn_gate_shexp.weight"},
    {"mlp.shared_experts.up_proj.weight", "ffn_up_shexp.weight"},
    {"mlp.shared_experts.down_proj.weight", "ffn_down_shexp.weight"},
    {"embed_tokens.weight", "nextn.embed_tokens.weight"},
    {"enorm.weight", "nextn.enorm.weight"},
    {"hnorm.weight", "nextn.hnorm.weight"},
    {"eh_proj.weight", "nextn.eh_proj.weight"},
    {"shared_head.norm.weight", "nextn.shared_head_norm.weight"},
    {"shared_head.head.weight", "nextn.shared_head_head.weight"},
};

constexpr Pair kExpert[] = {
    {"gate_proj.weight", "ffn_gate_exps.weight"},
    {"up_proj.weight", "ffn_up_exps.weight"},
    {"down_proj.weight", "ffn_down_exps.weight"},
};

template <size_t n>
std::optional<std::string_view> look_up(const Pair (&table)[n], std::string_view name) {
  for (const auto& [official, gguf] : table) {
    if (official == name) return gguf;
  }
  return std::nullopt;
}

// Takes `prefix` and a number with a dot behind it off the front.
std::optional<int64_t> take_number(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return std::nullopt;
  const char* begin = text.data() + prefix.size();
  const char* end = text.data() + text.size();
  int64_t number = 0;
  const auto [after, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || after == end || *after != '.') return std::nullopt;
  text = std::string_view(after + 1, static_cast<size_t>(end - after - 1));
  return number;
}

}  // namespace

std::optional<GgufTensorName> gguf_name(const std::string& name) {
  if (const auto top = look_up(kTop, name)) return GgufTensorName{std::string(*top), {}};
  std::string_view rest = name;
  const auto layer = take_number(rest, "model.layers.");
  if (!layer) return std::nullopt;
  const auto expert = take_number(rest, "mlp.experts.");
  const auto found = expert ? look_up(kExpert, rest) : look_up(kInLayer, rest);
  if (!found) return std::nullopt;
  return GgufTensorName{fmt::format("blk.{}.{}", *layer, *found), expert};
}

GgufKvHalves gguf_kv_halves(const std::string& attn_kv_b) {
  const size_t at = attn_kv_b.find("attn_kv_b");
  const std::string before = attn_kv_b.substr(0, at), after = attn_kv_b.substr(at + 9);
  return {before + "attn_k_b" + after, before + "attn_v_b" + after};
}

}  // namespace dsv3::model
