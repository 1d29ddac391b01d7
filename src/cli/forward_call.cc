#include "cli/forward_call.h"

#include <set>

#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "cli/backward_call.h"
#include "dsv3/generation.h"
#include "generation/engine_lm.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/gemm/gemm.h"
#include "model/pretrained.h"
#include "ops/linear.h"

namespace dsv3::cli {
namespace {

constexpr const char* kClasses =
    "DeepseekV3Model, DeepseekV3ForCausalLM, DeepseekV3ForSequenceClassification, "
    "DeepseekV3ForTokenClassification";

Tensor find(const Tensors& tensors, const std::string& name) {
  const auto it = tensors.find(name);
  return it == tensors.end() ? Tensor() : it->second;
}

Tensor require(const Tensors& tensors, const std::string& name) {
  const Tensor t = find(tensors, name);
  if (!t.defined()) fail("inputs: tensor '{}' is missing", name);
  return t;
}

// ---- forward ----

ForwardArgs forward_args(const Json& kwargs, const Tensors& inputs, const std::string& suffix) {
  static const std::set<std::string> known = {"input_ids",     "attention_mask", "position_ids",
                                              "inputs_embeds", "labels",         "logits_to_keep",
                                              "compare_mask"};
  for (const auto& [name, tensor] : inputs) {
    const std::string argument = name.substr(0, name.find('.'));
    if (known.count(argument) == 0) {
      fail("inputs: '{}' is no argument of forward ({})", name, fmt::join(known, ", "));
    }
  }
  ForwardArgs args;
  args.input_ids = find(inputs, "input_ids" + suffix);
  args.attention_mask = find(inputs, "attention_mask" + suffix);
  args.position_ids = find(inputs, "position_ids" + suffix);
  args.inputs_embeds = find(inputs, "inputs_embeds" + suffix);
  args.labels = find(inputs, "labels" + suffix);
  args.logits_to_keep_indices = find(inputs, "logits_to_keep" + suffix);
  for (const auto& [key, value] : kwargs.items()) {
    if (key == "use_cache") {
      args.use_cache = value.get<bool>();
    } else if (key == "logits_to_keep") {
      args.logits_to_keep = value.get<int64_t>();
    } else if (key == "output_hidden_states") {
      args.output_hidden_states = value.get<bool>();
    } else if (key == "output_attentions") {
      args.output_attentions = value.get<bool>();
    } else if (key == "num_items_in_batch") {
      args.num_items_in_batch = value.get<double>();
    } else if (key != "return_dict") {
      fail(
          "kwargs: '{}' is no argument of forward (use_cache, logits_to_keep, "
          "output_hidden_states, "
          "output_attentions, num_items_in_batch)",
          key);
    }
  }
  return args;
}

void collect(const ModelOutput& out, const std::string& suffix, Tensors& results) {
  const auto add = [&](const std::string& name, const Tensor& t) {
    if (t.defined()) results[name + suffix] = t;
  };
  add("loss", out.loss);
  add("logits", out.logits);
  add("last_hidden_state", out.last_hidden_state);
  for (size_t i = 0; i < out.hidden_states.size(); ++i)
    add(fmt::format("hidden_states.{}", i), out.hidden_states[i]);
  for (size_t i = 0; i < out.attentions.size(); ++i)
    add(fmt::format("attentions.{}", i), out.attentions[i]);
}

template <typename Model>
Tensors run_forward(const Model& model, const Call& call, const Tensors& inputs) {
  Tensors results;
  if (call.chunks == 0) {
    const ForwardArgs args = forward_args(call.kwargs, inputs, "");
    const ModelOutput out = model.forward(args);
    collect(out, "", results);
    if constexpr (std::is_same_v<Model, DeepseekV3ForCausalLM>) {
      if (!model.loaded().weights.mtp.empty() && args.input_ids.defined() &&
          args.input_ids.dim(1) > 1 && !args.attention_mask.defined()) {
        const MtpOutput mtp = model.forward_mtp(args.input_ids, out.last_hidden_state, args.labels);
        results["mtp_hidden_states"] = mtp.hidden_states;
        results["mtp_logits"] = mtp.logits;
        if (mtp.loss.defined()) results["mtp_loss"] = mtp.loss;
      }
    }
    return results;
  }
  std::shared_ptr<Cache> cache;
  for (int64_t chunk = 0; chunk < call.chunks; ++chunk) {
    const std::string suffix = fmt::format(".{}", chunk);
    ForwardArgs args = forward_args(call.kwargs, inputs, suffix);
    args.past_key_values = cache;
    args.use_cache = true;
    const ModelOutput out = model.forward(args);
    cache = out.past_key_values;
    collect(out, suffix, results);
  }
  return results;
}

// ---- generate ----

std::vector<std::vector<int64_t>> rows_of(const Tensor& t, const char* name) {
  if (t.dtype() != DType::kI64 || t.rank() != 2) {
    fail("{}: expected I64 [batch, sequence], found {} {}", name, dtype_name(t.dtype()),
         shape_string(t.shape()));
  }
  const auto values = t.as<int64_t>();
  std::vector<std::vector<int64_t>> rows;
  for (int64_t b = 0; b < t.dim(0); ++b) {
    rows.emplace_back(values.begin() + b * t.dim(1), values.begin() + (b + 1) * t.dim(1));
  }
  return rows;
}

Tensors run_generate(const std::filesystem::path& folder, const Call& call, const Tensors& inputs,
                     const LoadOptions& options) {
  const auto model = DeepseekV3ForCausalLM::from_pretrained(folder, options);
  GenerationRequest request;
  request.config = GenerationConfig::from_folder(folder, model.config());
  request.config.apply(call.kwargs.dump(), "call.json: kwargs");
  request.input_ids = rows_of(require(inputs, "input_ids"), "input_ids");
  if (const Tensor mask = find(inputs, "attention_mask"); mask.defined()) {
    request.attention_mask = rows_of(mask, "attention_mask");
  }
  generation::EngineLm engine(model);
  const GenerationResult result = generate(engine, request);

  const auto rows = padded_sequences(request, result);
  std::vector<int64_t> flat;
  for (const auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
  const auto n = static_cast<int64_t>(rows.size());
  Tensors results;
  results["sequences"] =
      Tensor::from(std::span<const int64_t>(flat), {n, static_cast<int64_t>(flat.size()) / n});
  if (request.config.num_beams > 1) {
    std::vector<float> scores;
    for (const auto& s : result.sequences) scores.push_back(s.score);
    results["sequences_scores"] = Tensor::from(std::span<const float>(scores), {n});
  }
  return results;
}

// ---- linear: one FP8 linear by itself ----

Tensors run_linear(const Tensors& inputs) {
  const Tensor x = require(inputs, "x");
  ops::LinearWeight w;
  w.weight = require(inputs, "weight");
  w.scale_inv = require(inputs, "weight_scale_inv");
  const auto blocks = [](int64_t n) { return (n + 127) / 128; };
  if (w.weight.dtype() != DType::kF8E4M3 || w.weight.rank() != 2 || x.dtype() != DType::kF32 ||
      x.rank() != 2 || x.dim(1) != w.weight.dim(1)) {
    fail("inputs: expected x F32 [M, K] and weight F8_E4M3 [N, K], found {} {} and {} {}",
         dtype_name(x.dtype()), shape_string(x.shape()), dtype_name(w.weight.dtype()),
         shape_string(w.weight.shape()));
  }
  const int64_t m = x.dim(0), k = x.dim(1), n = w.weight.dim(0);
  const Shape scale_shape = {blocks(n), blocks(k)};
  if (w.scale_inv.dtype() != DType::kF32 || w.scale_inv.shape() != scale_shape) {
    fail("inputs: expected weight_scale_inv F32 {}, found {} {}", shape_string(scale_shape),
         dtype_name(w.scale_inv.dtype()), shape_string(w.scale_inv.shape()));
  }
  Tensors r;
  r["weight_dequantized"] = Tensor::empty(DType::kF32, {n, k});
  kernels::decode(w.view(), r["weight_dequantized"].as_mutable<float>().data(), k);
  r["x_q"] = Tensor::empty(DType::kF8E4M3, {m, k});
  r["x_scale"] = Tensor::empty(DType::kF32, {m, blocks(k)});
  Tensor x_copy = x.clone(), dequantized = Tensor::empty(DType::kF32, {m, k});
  const Matrix x_rows(x_copy.as_mutable<float>().data(), m, k);
  for (int64_t i = 0; i < m; ++i) {
    kernels::quantize_dequantize_e4m3(x_rows.row(i), k, ops::kActivationGroup, false,
                                      dequantized.as_mutable<float>().data() + i * k,
                                      r["x_q"].as_mutable<uint8_t>().data() + i * k,
                                      r["x_scale"].as_mutable<float>().data() + i * blocks(k));
  }
  for (const auto& [name, mode] : {std::pair("y", ops::Activations::kFloat32),
                                   std::pair("y_dynamic", ops::Activations::kFp8)}) {
    r[name] = Tensor::empty(DType::kF32, {m, n});
    ops::linear(x_rows, w, Matrix(r[name].as_mutable<float>().data(), m, n), mode);
  }
  return r;
}

}  // namespace

Call read_call(const std::filesystem::path& call_json) {
  const Json json = read_json_file(call_json);
  return with_context(call_json.string(), [&] {
    try {
      Call call{json.at("class").get<std::string>(), json.at("method").get<std::string>(),
                json.value("kwargs", Json::object()), json.value("chunks", int64_t{0}),
                json.value("optimizer", Json())};
      if (!call.kwargs.is_object())
        fail("'kwargs': expected an object, found {}", call.kwargs.dump());
      return call;
    } catch (const Json::exception& e) {
      fail("expected an object with 'class', 'method' and 'kwargs': {}", e.what());
    }
  });
}

Tensors read_tensors(const std::filesystem::path& path) {
  const auto file = SafetensorsFile::open(path);
  Tensors tensors;
  for (const TensorEntry& entry : file->tensors()) tensors[entry.name] = file->tensor(entry.name);
  return tensors;
}

Tensors run_call(const std::filesystem::path& model, const Call& call, const Tensors& inputs,
                 const LoadOptions& options) {
  try {
    if (call.method == "linear") return run_linear(inputs);
    if (call.method == "generate") {
      if (call.class_name != "DeepseekV3ForCausalLM") {
        fail("class '{}' cannot generate (DeepseekV3ForCausalLM)", call.class_name);
      }
      return run_generate(model, call, inputs, options);
    }
    if (call.method == "backward")
      return run_backward(model, call, forward_args(call.kwargs, inputs, ""));
    if (call.method != "forward")
      fail("method '{}' is not supported (forward, backward, generate, linear)", call.method);
    if (call.class_name == "DeepseekV3Model") {
      return run_forward(DeepseekV3Model::from_pretrained(model, options), call, inputs);
    }
    if (call.class_name == "DeepseekV3ForCausalLM") {
      LoadOptions causal = options;
      causal.load_mtp = DeepseekV3Config::from_file(model).num_nextn_predict_layers > 0;
      return run_forward(DeepseekV3ForCausalLM::from_pretrained(model, causal), call, inputs);
    }
    if (call.class_name == "DeepseekV3ForSequenceClassification") {
      return run_forward(DeepseekV3ForSequenceClassification::from_pretrained(model, options), call,
                         inputs);
    }
    if (call.class_name == "DeepseekV3ForTokenClassification") {
      return run_forward(DeepseekV3ForTokenClassification::from_pretrained(model, options), call,
                         inputs);
    }
    fail("class '{}' is not known ({})", call.class_name, kClasses);
  } catch (const Json::exception& e) {
    fail("call.json: kwargs: {}", e.what());
  }
}

}  // namespace dsv3::cli
