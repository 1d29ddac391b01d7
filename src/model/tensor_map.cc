#include "model/tensor_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <unordered_set>

namespace dsv3::model {
namespace {

bool is_float_type(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kF16 ||
         dtype == DType::kBF16;
}

int64_t blocks(int64_t n, int64_t block) { return (n + block - 1) / block; }

// "…mlp.experts.7.up_proj.weight" -> expert 7, projection "up_proj", prefix up to "experts".
struct ExpertName {
  std::string prefix, projection;
  int64_t expert = 0;
};
std::optional<ExpertName> parse_expert(const std::string& name) {
  constexpr std::string_view kMark = ".mlp.experts.";
  const size_t at = name.find(kMark);
  if (at == std::string::npos) return std::nullopt;
  ExpertName e;
  e.prefix = name.substr(0, at + kMark.size() - 1);
  const char* begin = name.data() + at + kMark.size();
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), e.expert);
  if (error != std::errc()) return std::nullopt;
  e.projection =
      std::string(end + 1, name.data() + name.size() - std::string_view(".weight").size());
  return e;
}

// The number after "layers." or "blk.", or -1.
int64_t layer_of(std::string_view name) {
  int64_t layer = -1;
  for (const std::string_view before : {"layers.", "blk."}) {
    const size_t at = name.find(before);
    if (at == std::string_view::npos) continue;
    std::from_chars(name.data() + at + before.size(), name.data() + name.size(), layer);
  }
  return layer;
}

class Mapper {
 public:
  Mapper(const DeepseekV3Config& config, const Checkpoint& checkpoint)
      : c_(config), checkpoint_(checkpoint) {}

  void map(const TensorSlot& slot) {
    TensorSource source{slot};
    if (checkpoint_.gguf_metadata() != nullptr) {
      find_in_gguf(slot, source);
    } else if (find_plain(slot, source)) {
      check(slot, slot.shape, source);
    } else if (find_packed(slot, source)) {
      // Checked there.
    } else if (!slot.optional) {
      map_.missing.push_back(slot.name);
    }
    map_.sources.push_back(std::move(source));
  }

  TensorMap finish(Head head, bool mtp) {
    for (const std::string& name : checkpoint_.names()) {
      if (used_.count(name) != 0 || belongs_elsewhere(name, head, mtp)) continue;
      map_.unexpected.push_back(name);
    }
    return std::move(map_);
  }

 private:
  bool find_plain(const TensorSlot& slot, TensorSource& source) {
    std::string name = slot.name;
    if (!checkpoint_.find(name) && slot.in_trunk)
      name = slot.name.substr(std::string_view("model.").size());
    if (!checkpoint_.find(name)) return false;
    source.name = name;
    used_.insert(name);
    return true;
  }

  // gate_up_proj [experts, 2 intermediate, hidden], gate rows first; down_proj [experts, hidden,
  // intermediate].
  bool find_packed(const TensorSlot& slot, TensorSource& source) {
    const auto expert = parse_expert(slot.name);
    if (!expert) return false;
    const bool is_down = expert->projection == "down_proj";
    TensorSlot packed = slot;
    packed.name = expert->prefix + (is_down ? ".down_proj" : ".gate_up_proj");
    const int64_t rows = slot.shape[0];
    source.expert = expert->expert;
    source.rows = {expert->projection == "up_proj" ? rows : 0,
                   expert->projection == "up_proj" ? 2 * rows : rows};
    if (!find_plain(packed, source)) return false;
    check(packed, {c_.n_routed_experts, is_down ? rows : 2 * rows, slot.shape[1]}, source);
    return true;
  }

  void find_in_gguf(const TensorSlot& slot, TensorSource& source) {
    const auto gguf = gguf_name(slot.name);
    if (!gguf) return map_.missing.push_back(slot.name);
    if (checkpoint_.contains(gguf->name)) {
      source.name = gguf->name;
      used_.insert(source.name);
      Shape shape = slot.shape;
      if (gguf->expert) {
        source.expert = gguf->expert;
        source.rows = {0, shape[0]};
        shape.insert(shape.begin(), c_.n_routed_experts);
      }
      return check(slot, shape, source);
    }
    if (slot.kv_up != nullptr && find_halves(slot, gguf_kv_halves(gguf->name), source)) return;
    if (!slot.optional) add_once(map_.missing, gguf->name);
  }

  bool find_halves(const TensorSlot& slot, const GgufKvHalves& names, TensorSource& source) {
    if (!checkpoint_.contains(names.k_b) || !checkpoint_.contains(names.v_b)) return false;
    source.halves = names;
    const auto check_half = [&](const std::string& name, int64_t rows, int64_t cols) {
      used_.insert(name);
      TensorSource half{slot, name};
      // Some files have the heads as an axis of its own, some not.
      const bool flat = checkpoint_.find(name)->shape.size() == 2;
      check(slot,
            flat ? Shape{c_.num_attention_heads * rows, cols}
                 : Shape{c_.num_attention_heads, rows, cols},
            half);
    };
    check_half(names.k_b, c_.kv_lora_rank, c_.qk_nope_head_dim);
    check_half(names.v_b, c_.v_head_dim, c_.kv_lora_rank);
    return true;
  }

  void check(const TensorSlot& slot, const Shape& shape, TensorSource& source) {
    const auto info = *checkpoint_.find(source.name);
    const auto mismatch = [&](const std::string& expected) {
      const std::string text = fmt::format("{}: expected {}, found {} {}", source.name, expected,
                                           dtype_name(info.dtype), shape_string(info.shape));
      add_once(map_.mismatched, text);
    };
    if (info.shape != shape) return mismatch(shape_string(shape));
    if (is_block_format(info.dtype)) {
      if (slot.linear == nullptr) mismatch("F32, BF16, F16 or F64 (no quantised type)");
      return;
    }
    if (info.dtype != DType::kF8E4M3) {
      if (!is_float_type(info.dtype)) mismatch("F32, BF16, F16, F64 or F8_E4M3");
      return;
    }
    if (slot.role != TensorRole::kLinear)
      return mismatch("F32, BF16, F16 or F64 (only linear weights can be FP8)");
    if (!c_.quantization_config)
      return mismatch("no FP8, since config.json has no quantization_config");
    check_scale(shape, source, mismatch);
  }

  // What is wrong with packed experts is found once for every expert.
  void add_once(std::vector<std::string>& list, const std::string& text) {
    if (reported_.insert(text).second) list.push_back(text);
  }

  template <typename F>
  void check_scale(const Shape& shape, TensorSource& source, F&& mismatch) {
    const int64_t block_rows = c_.quantization_config->block_rows;
    source.scale_name = source.name + "_scale_inv";
    used_.insert(source.scale_name);
    const auto scale = checkpoint_.find(source.scale_name);
    if (!scale) {
      return add_once(map_.missing, source.scale_name);
    }
    if (source.rows.first % block_rows != 0) {
      return mismatch(
          fmt::format("gate rows in whole blocks of {} (packed FP8 experts)", block_rows));
    }
    Shape expected = shape;
    expected.end()[-2] = blocks(shape.end()[-2], block_rows);
    expected.end()[-1] = blocks(shape.end()[-1], c_.quantization_config->block_cols);
    if (scale->shape != expected ||
        !(is_float_type(scale->dtype) || scale->dtype == DType::kF8E8M0)) {
      add_once(map_.mismatched, fmt::format("{}: expected F32 {}, found {} {}", source.scale_name,
                                            shape_string(expected), dtype_name(scale->dtype),
                                            shape_string(scale->shape)));
    }
  }

  bool belongs_elsewhere(const std::string& name, Head head, bool mtp) const {
    const int64_t layer = layer_of(name);
    if (!mtp && layer >= c_.num_hidden_layers &&
        layer < c_.num_hidden_layers + c_.num_nextn_predict_layers) {
      return true;
    }
    if (name == "lm_head.weight" || name == "output.weight")
      return head != Head::kCausalLm || c_.tie_word_embeddings;
    if (name.starts_with("score.")) return head == Head::kNone || head == Head::kCausalLm;
    return name.ends_with("rotary_emb.inv_freq") || name.ends_with("rope_freqs.weight");
  }

  const DeepseekV3Config& c_;
  const Checkpoint& checkpoint_;
  TensorMap map_;
  std::unordered_set<std::string> used_, reported_;
};

void append(std::string& text, const char* title, const std::vector<std::string>& items) {
  constexpr size_t kShown = 40;
  if (items.empty()) return;
  text += fmt::format("\n  {} ({}):", title, items.size());
  for (size_t i = 0; i < std::min(kShown, items.size()); ++i) text += "\n    " + items[i];
  if (items.size() > kShown) text += fmt::format("\n    ... and {} more", items.size() - kShown);
}

}  // namespace

std::string TensorMap::report() const {
  std::string text;
  append(text, "missing", missing);
  append(text, "not as expected", mismatched);
  append(text, "unexpected", unexpected);
  return text;
}

bool has_mtp_weights(const DeepseekV3Config& config, const Checkpoint& checkpoint) {
  if (config.num_nextn_predict_layers == 0) return false;
  return std::ranges::any_of(checkpoint.names(), [&](const std::string& name) {
    return layer_of(name) == config.num_hidden_layers;
  });
}

TensorMap map_tensors(const DeepseekV3Config& config, Head head, bool mtp,
                      const Checkpoint& checkpoint, ModelWeights& weights) {
  Mapper mapper(config, checkpoint);
  for (const TensorSlot& slot : enumerate_tensors(config, head, mtp, weights)) mapper.map(slot);
  return mapper.finish(head, mtp);
}

}  // namespace dsv3::model
