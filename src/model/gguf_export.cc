#include "model/gguf_export.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "kernels/gemm/gemm.h"
#include "model/gguf_names.h"

namespace dsv3::model {
namespace {

using Layout = GgufTensor::Layout;

void decode_rows(const ops::LinearWeight& w, int64_t begin, int64_t end, float* out) {
  const kernels::WeightView view = w.view();
  kernels::decode(view.slice_rows(begin, end), out, view.cols);
}

// in [rows, cols] to out [cols, rows].
void transpose(const float* in, int64_t rows, int64_t cols, float* out) {
  for (int64_t c = 0; c < cols; ++c) {
    for (int64_t r = 0; r < rows; ++r) out[c * rows + r] = in[r * cols + c];
  }
}

// All rows of one head.
void decode_head(const GgufTensor& t, int64_t h, float* out) {
  const int64_t nope = t.mla.qk_nope_head_dim, v_dim = t.mla.v_head_dim, rank = t.mla.kv_lora_rank;
  const int64_t kv_begin = h * t.mla.kv_head_rows();
  std::vector<float> half(nope * rank);
  switch (t.layout) {
    case Layout::kKeyHalf:
      decode_rows(t.parts[0], kv_begin, kv_begin + nope, half.data());
      return transpose(half.data(), nope, rank, out);
    case Layout::kValueHalf:
      return decode_rows(t.parts[0], kv_begin + nope, kv_begin + nope + v_dim, out);
    case Layout::kJoined:
      decode_rows(t.parts[0], h * rank, (h + 1) * rank, half.data());
      transpose(half.data(), rank, nope, out);
      return decode_rows(t.parts[1], h * v_dim, (h + 1) * v_dim, out + nope * rank);
    case Layout::kStacked:
      break;
  }
}

int64_t head_rows(const GgufTensor& t) {
  return t.layout == Layout::kKeyHalf     ? t.mla.kv_lora_rank
         : t.layout == Layout::kValueHalf ? t.mla.v_head_dim
                                          : t.mla.kv_head_rows();
}

class Exporter {
 public:
  explicit Exporter(const LoadedModel& model, bool split_kv_b)
      : config_(model.config), split_kv_b_(split_kv_b) {
    mla_.num_heads = config_.num_attention_heads;
    mla_.qk_nope_head_dim = config_.qk_nope_head_dim;
    mla_.qk_rope_head_dim = config_.qk_rope_head_dim;
    mla_.v_head_dim = config_.v_head_dim;
    mla_.kv_lora_rank = config_.kv_lora_rank;
  }

  void add(const TensorSlot& slot) {
    const auto gguf = gguf_name(slot.name);
    if (!gguf) fail("tensor '{}' has no place in a GGUF file", slot.name);
    if (slot.kv_up != nullptr) return add_kv(gguf->name, *slot.kv_up);
    if (!slot.tensor->defined()) return;  // a copy that an MTP module does not have
    ops::LinearWeight part;
    if (slot.linear != nullptr) {
      part = *slot.linear;
    } else {
      part.weight = slot.tensor->reshape({1, slot.tensor->numel()});
    }
    if (!gguf->expert)
      return push({gguf->name, slot.shape, slot.role, -1, Layout::kStacked, {part}});
    // Experts come one after the other, but their projections in turns.
    const auto [at, is_new] = stacks_.try_emplace(gguf->name, tensors_.size());
    if (is_new) {
      push({gguf->name, {config_.n_routed_experts, slot.shape[0], slot.shape[1]}, slot.role});
    }
    tensors_[at->second].parts.push_back(std::move(part));
  }

  std::vector<GgufTensor> take() { return std::move(tensors_); }

 private:
  void push(GgufTensor t) {
    t.layer = t.name.starts_with("blk.") ? std::stoll(t.name.substr(4)) : -1;
    tensors_.push_back(std::move(t));
  }

  void add_kv(const std::string& name, const ops::LatentUpProjection& up) {
    const Shape whole = {mla_.num_heads * mla_.kv_head_rows(), mla_.kv_lora_rank};
    const Shape k_b = {mla_.num_heads, mla_.kv_lora_rank, mla_.qk_nope_head_dim};
    const Shape v_b = {mla_.num_heads, mla_.v_head_dim, mla_.kv_lora_rank};
    const auto put = [&](const std::string& to, const Shape& shape, Layout layout,
                         std::vector<ops::LinearWeight> parts) {
      push({to, shape, TensorRole::kLinear, -1, layout, std::move(parts), mla_});
    };
    if (!split_kv_b_) {
      return up.is_split() ? put(name, whole, Layout::kJoined, {up.k_b_proj, up.v_b_proj})
                           : put(name, whole, Layout::kStacked, {up.kv_b_proj});
    }
    const GgufKvHalves halves = gguf_kv_halves(name);
    if (up.is_split()) {
      put(halves.k_b, k_b, Layout::kStacked, {up.k_b_proj});
      put(halves.v_b, v_b, Layout::kStacked, {up.v_b_proj});
    } else {
      put(halves.k_b, k_b, Layout::kKeyHalf, {up.kv_b_proj});
      put(halves.v_b, v_b, Layout::kValueHalf, {up.kv_b_proj});
    }
  }

  const DeepseekV3Config& config_;
  bool split_kv_b_;
  ops::MlaShape mla_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, size_t> stacks_;
};

}  // namespace

int64_t GgufTensor::rows() const {
  int64_t n = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) n *= shape[i];
  return n;
}

void GgufTensor::decode(int64_t begin, int64_t end, float* out) const {
  if (layout == Layout::kStacked) {
    while (begin < end) {
      const int64_t part_rows = parts[0].out_features();
      const int64_t part = begin / part_rows, first = begin % part_rows;
      const int64_t count = std::min(end - begin, part_rows - first);
      decode_rows(parts[part], first, first + count, out);
      begin += count;
      out += count * cols();
    }
    return;
  }
  const int64_t per_head = head_rows(*this);
  std::vector<float> head(per_head * cols());
  while (begin < end) {
    const int64_t h = begin / per_head, first = begin % per_head;
    const int64_t count = std::min(end - begin, per_head - first);
    decode_head(*this, h, head.data());
    out = std::copy_n(head.data() + first * cols(), count * cols(), out);
    begin += count;
  }
}

std::optional<DType> GgufTensor::stored_type() const {
  if (layout != Layout::kStacked) return std::nullopt;
  const DType first = parts[0].weight.dtype();
  const bool same = std::all_of(parts.begin(), parts.end(), [&](const ops::LinearWeight& w) {
    return w.weight.dtype() == first;
  });
  return same && first != DType::kF8E4M3 ? std::optional(first) : std::nullopt;
}

const void* GgufTensor::stored_rows(int64_t begin) const {
  const int64_t part_rows = parts[0].out_features();
  return parts[begin / part_rows].view().row(begin % part_rows);
}

int64_t GgufTensor::rows_stored_from(int64_t begin) const {
  const int64_t part_rows = parts[0].out_features();
  return part_rows - begin % part_rows;
}

std::vector<GgufTensor> gguf_tensors(const LoadedModel& model, bool split_kv_b) {
  ModelWeights weights = model.weights;  // shares the memory
  Exporter exporter(model, split_kv_b);
  for (const TensorSlot& slot :
       enumerate_tensors(model.config, model.head, !weights.mtp.empty(), weights)) {
    exporter.add(slot);
  }
  return exporter.take();
}

}  // namespace dsv3::model
