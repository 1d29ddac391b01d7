#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>

#include "base/error.h"
#include "base/huge_pages.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "formats/convert.h"
#include "kernels/gemm/gemm.h"
#include "model/pretrained.h"
#include "model/tensor_map.h"

namespace dsv3::model {
namespace {

// Rows of one expert out of a packed tensor [experts, rows, cols].
Tensor packed_rows(const Tensor& packed, int64_t expert, int64_t begin, int64_t end) {
  return packed.slice(expert, expert + 1).reshape({packed.dim(1), packed.dim(2)}).slice(begin, end);
}

int64_t blocks(int64_t n, int64_t block) { return (n + block - 1) / block; }

// NaN in a norm or bias poisons everything, and looking costs nothing. What is mapped is left to
// `dsv3 verify`: looking would read it from disk.
void require_finite_values(const std::string& name, const Tensor& t) {
  const auto values = t.as<float>();
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) fail("tensor '{}': element {} is {}", name, i, values[i]);
  }
}

Tensor dequantize(const ops::LinearWeight& w, DType to) {
  Tensor out = Tensor::empty(DType::kF32, w.weight.shape());
  const kernels::WeightView view = w.view();
  float* data = out.as_mutable<float>().data();
  const int64_t step = 64;
  thread_pool().parallel_for(blocks(view.rows, step), [&](int64_t i) {
    const int64_t begin = i * step, end = std::min(view.rows, begin + step);
    kernels::decode(view.slice_rows(begin, end), data + begin * view.cols, view.cols);
  });
  return formats::convert(out, to);
}

DType held_as(WeightDType dtype) {
  return dtype == WeightDType::kFloat32 ? DType::kF32 : DType::kBF16;
}

// kv_b_proj from a GGUF's halves, k_b transposed back: rows of k_nope of a head, then its rows of
// v.
Tensor join_halves(const ops::LatentUpProjection& up, const Shape& shape, int64_t num_heads) {
  const Tensor k_b = dequantize(up.k_b_proj, DType::kF32),
               v_b = dequantize(up.v_b_proj, DType::kF32);
  const int64_t rank = shape[1], nope = k_b.dim(1), v_dim = v_b.dim(0) / num_heads;
  Tensor joined = Tensor::empty(DType::kF32, shape);
  float* to = joined.as_mutable<float>().data();
  const float* k = k_b.as<float>().data();
  const float* v = v_b.as<float>().data();
  for (int64_t h = 0; h < num_heads; ++h) {
    for (int64_t i = 0; i < nope; ++i) {
      for (int64_t r = 0; r < rank; ++r) *to++ = k[(h * rank + r) * nope + i];
    }
    to = std::copy_n(v + h * v_dim * rank, v_dim * rank, to);
  }
  return joined;
}

void load_halves(const Checkpoint& checkpoint, const TensorSource& source, int64_t num_heads,
                 WeightDType dtype) {
  ops::LatentUpProjection& up = *source.slot.kv_up;
  const auto load = [&](const std::string& name, ops::LinearWeight& w) {
    const Tensor t = checkpoint.tensor(name);
    w.weight = t.reshape({t.numel() / t.dim(-1), t.dim(-1)});
  };
  load(source.halves->k_b, up.k_b_proj);
  load(source.halves->v_b, up.v_b_proj);
  if (dtype == WeightDType::kAsStored) return;
  up.kv_b_proj.weight =
      formats::convert(join_halves(up, source.slot.shape, num_heads), held_as(dtype));
  up.k_b_proj = up.v_b_proj = {};
}

void load_tensor(const Checkpoint& checkpoint, const TensorSource& source, WeightDType dtype) {
  const TensorSlot& slot = source.slot;
  Tensor t = checkpoint.tensor(source.name);
  if (source.expert) t = packed_rows(t, *source.expert, source.rows.first, source.rows.second);
  if (slot.linear == nullptr) {
    *slot.tensor = formats::to_f32(t);
    require_finite_values(source.name, *slot.tensor);
    return;
  }
  ops::LinearWeight& w = *slot.linear;
  w.weight = t.dtype() == DType::kF64 ? formats::to_f32(t) : t;
  if (!source.scale_name.empty()) {
    Tensor scale = checkpoint.tensor(source.scale_name);
    if (source.expert) {
      scale = packed_rows(scale, *source.expert, source.rows.first / w.block_rows,
                          blocks(source.rows.second, w.block_rows));
    }
    w.scale_inv = formats::to_f32(scale);
  }
  if (dtype == WeightDType::kAsStored) return;
  const DType to = held_as(dtype);
  if (w.is_fp8() || is_block_format(w.weight.dtype())) {
    w.weight = dequantize(w, to);
    w.scale_inv = Tensor();
  } else {
    w.weight = formats::convert(w.weight, to);
  }
}

// Embedding and head are stored once and used in several places.
void share_tied_weights(const DeepseekV3Config& config, Head head, ModelWeights& weights) {
  if (head == Head::kCausalLm && config.tie_word_embeddings) weights.lm_head = weights.embed_tokens;
  for (MtpWeights& mtp : weights.mtp) {
    if (!mtp.embed_tokens.defined()) mtp.embed_tokens = weights.embed_tokens;
    if (!mtp.shared_head.defined()) mtp.shared_head = weights.lm_head;
  }
}

}  // namespace

ComputeOptions compute_options(const DeepseekV3Config& config, const LoadOptions& options) {
  ComputeOptions compute;
  const bool one_form = options.deterministic || options.dtype == WeightDType::kFloat32;
  switch (options.attention) {
    case AttentionForm::kAuto:
      compute.mla_form = one_form ? ops::MlaForm::kAbsorbed : ops::MlaForm::kAuto;
      break;
    case AttentionForm::kAbsorbed:
      compute.mla_form = ops::MlaForm::kAbsorbed;
      break;
    case AttentionForm::kExpanded:
      compute.mla_form = ops::MlaForm::kExpanded;
      break;
  }
  const bool fast = options.precision == Precision::kFast && !one_form;
  if (fast) compute.activations = ops::Activations::kFast;
  if (options.fp8_activations == Fp8Mode::kDynamic) {
    if (fast) {
      fail(
          "fp8 activations: dynamic quantisation defines how activations are rounded, which fast "
          "precision would not keep to");
    }
    if (!config.quantization_config || options.dtype != WeightDType::kAsStored) {
      fail(
          "fp8 activations: dynamic quantisation needs FP8 weights kept as stored; this model has "
          "{}",
          config.quantization_config ? "FP8 weights that were to be converted"
                                     : "no quantization_config");
    }
    compute.activations = config.quantization_config->scale_fmt == "ue8m0"
                              ? ops::Activations::kFp8PowerOfTwo
                              : ops::Activations::kFp8;
  }
  return compute;
}

namespace {

// The parts of mapped files that hold each layer's tensors, neighbours joined.
using LayerRanges = std::vector<std::vector<std::pair<const std::byte*, const std::byte*>>>;

LayerRanges layer_ranges(const LoadedModel& model) {
  LayerRanges ranges(model.weights.layers.size());
  for (size_t l = 0; l < ranges.size(); ++l) {
    ModelWeights layer_only;
    layer_only.layers = {model.weights.layers[l]};
    DeepseekV3Config config = model.config;
    config.num_hidden_layers = 1;
    config.first_k_dense_replace = model.config.is_moe_layer(static_cast<int64_t>(l)) ? 0 : 1;
    auto& of_layer = ranges[l];
    for (const TensorSlot& slot : enumerate_tensors(config, Head::kNone, false, layer_only)) {
      // Norms and biases are copies in memory; they are small, and their pages are not to be
      // dropped.
      if (slot.linear == nullptr || slot.role != TensorRole::kLinear) continue;
      std::vector<const Tensor*> held = {slot.tensor};
      if (slot.kv_up != nullptr) {
        held.insert(held.end(), {&slot.kv_up->k_b_proj.weight, &slot.kv_up->v_b_proj.weight});
      }
      for (const Tensor* t : held) {
        if (!t->defined()) continue;
        const auto* begin = static_cast<const std::byte*>(t->raw());
        of_layer.emplace_back(begin, begin + t->bytes());
      }
    }
    std::sort(of_layer.begin(), of_layer.end());
    size_t kept = 0;
    for (size_t i = 1; i < of_layer.size(); ++i) {
      if (of_layer[i].first == of_layer[kept].second) {
        of_layer[kept].second = of_layer[i].second;
      } else {
        of_layer[++kept] = of_layer[i];
      }
    }
    if (!of_layer.empty()) of_layer.resize(kept + 1);
  }
  return ranges;
}

// A model that is larger than memory gives each layer's pages back when the layer is done, so that
// the resident set is about one layer and not whatever the system lets it grow to.
void stream_from_disk(LoadedModel& model) {
  model.options.after_layer = [ranges = layer_ranges(model)](int64_t layer) {
    for (const auto& [begin, end] : ranges[layer])
      release_mapped(begin, static_cast<size_t>(end - begin));
  };
}

// Where the matrices of weights are.
std::vector<MemoryRange> weight_ranges(LoadedModel& model, Head head, bool mtp) {
  std::vector<MemoryRange> ranges;
  for (const TensorSlot& slot : enumerate_tensors(model.config, head, mtp, model.weights)) {
    std::vector<const Tensor*> held = {slot.tensor};
    if (slot.kv_up != nullptr) {
      held.insert(held.end(), {&slot.kv_up->k_b_proj.weight, &slot.kv_up->v_b_proj.weight});
    }
    for (const Tensor* t : held) {
      if (!t->defined()) continue;
      const auto* begin = static_cast<const std::byte*>(t->raw());
      ranges.emplace_back(begin, begin + t->bytes());
    }
  }
  return ranges;
}

// Reads the mapped weights now, by all threads, rather than page by page when they are first used.
void page_in(const std::vector<MemoryRange>& ranges, bool lock) {
  constexpr int64_t kPiece = int64_t{64} << 20;
  std::vector<std::pair<const std::byte*, size_t>> pieces;
  for (const auto& [begin, end] : ranges) {
    for (int64_t at = 0; at < end - begin; at += kPiece)
      pieces.emplace_back(begin + at, std::min(kPiece, end - begin - at));
  }
  std::atomic<int64_t> done = 0;
  std::mutex reporting;
  const auto total = static_cast<int64_t>(pieces.size());
  thread_pool().parallel_for(total, [&](int64_t i) {
    const auto& [begin, bytes] = pieces[i];
    page_in_mapped(begin, bytes);
    if (lock) lock_memory(begin, bytes);
    const int64_t n = ++done;
    if (n % 64 != 0 && n != total) return;
    std::lock_guard guard(reporting);
    report_progress("reading", n, total);
  });
}

// Reads the weights into memory.
void bring_into_memory(LoadedModel& model, Head head, const LoadOptions& options) {
  const auto ranges = weight_ranges(model, head, options.load_mtp);
  if (options.huge_pages != HugePages::kOff) {
    const bool patient = options.huge_pages == HugePages::kOn;
    move_to_huge_pages(ranges, options.lock_memory, patient, [](int64_t done, int64_t total) {
      report_progress("reading", done, total);
    });
  }
  page_in(ranges, options.lock_memory);
}

void update_config(DeepseekV3Config& config, WeightDType dtype) {
  if (dtype == WeightDType::kAsStored) return;
  config.quantization_config.reset();
  config.dtype = dtype == WeightDType::kFloat32 ? "float32" : "bfloat16";
}

}  // namespace

std::shared_ptr<const LoadedModel> load_pretrained(const std::filesystem::path& path, Head head,
                                                   const LoadOptions& options) {
  auto model = std::make_shared<LoadedModel>();
  model->config = DeepseekV3Config::from_file(path);
  model->head = head;
  model->source = path;
  model->options = compute_options(model->config, options);
  const bool mtp = options.load_mtp;
  if (mtp && model->config.num_nextn_predict_layers == 0) {
    fail("{}: no multi-token prediction module to load, num_nextn_predict_layers is 0",
         path.string());
  }

  const Checkpoint checkpoint = Checkpoint::open(path);
  const TensorMap map = map_tensors(model->config, head, mtp, checkpoint, model->weights);
  if (!map.loadable())
    fail("{}: the checkpoint does not fit {}{}", path.string(),
         checkpoint.gguf_metadata() != nullptr ? "its keys" : "config.json", map.report());
  if (!map.unexpected.empty()) warn("{}: tensors that are not used{}", path.string(), map.report());

  const auto total = static_cast<int64_t>(map.sources.size());
  for (int64_t i = 0; i < total; ++i) {
    const TensorSource& source = map.sources[i];
    if (source.halves) {
      load_halves(checkpoint, source, model->config.num_attention_heads, options.dtype);
    } else if (!source.name.empty()) {
      load_tensor(checkpoint, source, options.dtype);
    }
    report_progress("loading", i + 1, total);
  }
  share_tied_weights(model->config, head, model->weights);
  update_config(model->config, options.dtype);
  const bool fits = checkpoint.total_bytes() <= static_cast<uint64_t>(usable_memory_bytes());
  if (!fits && options.lock_memory) {
    fail("{}: {} bytes do not fit the {} bytes of memory that they were to be locked in",
         path.string(), checkpoint.total_bytes(), usable_memory_bytes());
  }
  if (fits) {
    bring_into_memory(*model, head, options);
  } else if (options.dtype == WeightDType::kAsStored) {
    stream_from_disk(*model);
  }
  return model;
}

}  // namespace dsv3::model
