// dsv3 inspect: what a checkpoint is, from its headers and config.json.

#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/generate_report.h"
#include "cli/model_sizes.h"
#include "cli/units.h"

namespace dsv3::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTokenizerFiles[] = {"tokenizer.json", "tokenizer_config.json",
                                           "tiktoken.model", "special_tokens_map.json",
                                           "chat_template.jinja"};

struct InspectOptions {
  fs::path model;
  bool tensors = false;
  bool json = false;
};

struct DTypeTotal {
  int64_t tensors = 0;
  int64_t bytes = 0;
};

class Inspection {
 public:
  explicit Inspection(const fs::path& path)
      : path_(path), config_(DeepseekV3Config::from_file(path)), head_(head_of(config_)) {
    sizes_ = count_parameters(config_, head_);
    if (!fs::is_directory(path) && !is_gguf_file(path)) return;
    checkpoint_ = Checkpoint::open(path, Checkpoint::Mode::kHeaderOnly);
    for (const std::string& name : checkpoint_->names()) {
      const TensorInfo info = *checkpoint_->find(name);
      DTypeTotal& total = dtypes_[std::string(dtype_name(info.dtype))];
      ++total.tensors;
      total.bytes += static_cast<int64_t>(info.bytes);
    }
    if (const GgufMetadata* metadata = checkpoint_->gguf_metadata()) {
      if (const std::string* kind = metadata->find_string("tokenizer.ggml.pre"))
        tokenizer_files_.push_back("in the file, " + *kind);
      return;
    }
    for (const char* file : kTokenizerFiles) {
      if (fs::exists(path / file)) tokenizer_files_.emplace_back(file);
    }
  }

  Json to_json() const {
    Json json = {{"model", path_.string()}, {"class", class_name(head_)}};
    json["config"] = parse_json(config_.to_json(), "config");
    json["parameters"] = {{"total", sizes_.total},
                          {"embeddings", sizes_.embeddings},
                          {"active_per_token", sizes_.active},
                          {"active_per_token_without_embeddings", sizes_.active_no_embeddings},
                          {"mtp", sizes_.mtp}};
    json["cache_bytes_per_token"] = {{"float32", cache_bytes_per_token(config_, DType::kF32)},
                                     {"bfloat16", cache_bytes_per_token(config_, DType::kBF16)},
                                     {"q8", cache_bytes_per_token(config_, DType::kI8)}};
    if (!checkpoint_) return json;
    json["tokenizer_files"] = tokenizer_files_;
    json["total_bytes"] = checkpoint_->total_bytes();
    for (const auto& [name, total] : dtypes_) {
      json["dtypes"][name] = {{"tensors", total.tensors}, {"bytes", total.bytes}};
    }
    json["shards"] = Json::array();
    for (const auto& shard : checkpoint_->shards())
      json["shards"].push_back(shard->path().filename().string());
    json["tensors"] = Json::array();
    for (const std::string& name : checkpoint_->names()) {
      const TensorInfo info = *checkpoint_->find(name);
      json["tensors"].push_back({{"name", name},
                                 {"dtype", dtype_name(info.dtype)},
                                 {"shape", info.shape},
                                 {"shard", info.shard},
                                 {"bytes", info.bytes}});
    }
    return json;
  }

  std::string to_text() const {
    std::string text = path_.string() + "\n";
    const auto line = [&](const char* name, const std::string& value) {
      text += fmt::format("  {:<13} {}\n", name, value);
    };
    line("model", fmt::format("{}, {}", class_name(head_), layers()));
    line("sizes", fmt::format("hidden {}, vocabulary {}, context {} tokens",
                              with_commas(config_.hidden_size), with_commas(config_.vocab_size),
                              with_commas(config_.max_position_embeddings)));
    line("attention", attention());
    line("feed-forward", feed_forward());
    if (config_.n_routed_experts > 0) line("router", router());
    line("rope", rope());
    line("quantisation", quantisation());
    line("MTP",
         config_.num_nextn_predict_layers == 0
             ? "none"
             : fmt::format("{} module{}, {} parameters more", config_.num_nextn_predict_layers,
                           config_.num_nextn_predict_layers == 1 ? "" : "s",
                           short_count(sizes_.mtp)));
    line("parameters",
         fmt::format("{} ({}), {} without embedding and head", short_count(sizes_.total),
                     with_commas(sizes_.total), short_count(sizes_.total - sizes_.embeddings)));
    line("per token",
         fmt::format("{} active, {} without embedding and head", short_count(sizes_.active),
                     short_count(sizes_.active_no_embeddings)));
    line("cache", fmt::format("{} per token in float32, {} in bfloat16, {} in q8",
                              short_bytes(cache_bytes_per_token(config_, DType::kF32)),
                              short_bytes(cache_bytes_per_token(config_, DType::kBF16)),
                              short_bytes(cache_bytes_per_token(config_, DType::kI8))));
    if (!checkpoint_) return text;
    line("weights",
         fmt::format("{} tensors, {}, in {} file{}",
                     with_commas(static_cast<int64_t>(checkpoint_->names().size())),
                     short_bytes(static_cast<int64_t>(checkpoint_->total_bytes())),
                     checkpoint_->shards().size(), checkpoint_->shards().size() == 1 ? "" : "s"));
    for (const auto& [name, total] : dtypes_) {
      line("", fmt::format("{:<8} {} tensors, {}", name, with_commas(total.tensors),
                           short_bytes(total.bytes)));
    }
    line("tokenizer", tokenizer_files_.empty()
                          ? "no files"
                          : fmt::format("{}", fmt::join(tokenizer_files_, ", ")));
    return text;
  }

  std::string tensor_list() const {
    if (!checkpoint_)
      throw UsageError("--tensors needs a folder or a GGUF file, not a config.json");
    size_t width = 0;
    for (const std::string& name : checkpoint_->names()) width = std::max(width, name.size());
    std::string text;
    for (const std::string& name : checkpoint_->names()) {
      const TensorInfo info = *checkpoint_->find(name);
      text += fmt::format("{:<{}}  {:<7}  {:<16}  {:>14}  {}\n", name, width,
                          dtype_name(info.dtype), shape_string(info.shape), info.bytes, info.shard);
    }
    return text;
  }

 private:
  std::string layers() const {
    const int64_t dense = std::min(config_.first_k_dense_replace, config_.num_hidden_layers);
    return fmt::format("{} layers: {} dense, {} with experts", config_.num_hidden_layers, dense,
                       config_.num_hidden_layers - dense);
  }
  std::string attention() const {
    return fmt::format(
        "{} heads of {} + {} (nope + rope) and {} (value); latent of {}, queries {}",
        config_.num_attention_heads, config_.qk_nope_head_dim, config_.qk_rope_head_dim,
        config_.v_head_dim, config_.kv_lora_rank,
        config_.q_lora_rank ? fmt::format("by way of {}", *config_.q_lora_rank) : "direct");
  }
  std::string feed_forward() const {
    return fmt::format("{} routed experts of {} + {} shared; dense layers {}",
                       config_.n_routed_experts, config_.moe_intermediate_size,
                       config_.n_shared_experts, config_.intermediate_size);
  }
  std::string router() const {
    return fmt::format("{} experts per token, from {} of {} groups; weights {}times {}",
                       config_.num_experts_per_tok, config_.topk_group, config_.n_group,
                       config_.norm_topk_prob ? "normalised, " : "", config_.routed_scaling_factor);
  }
  std::string rope() const {
    const RopeParameters& rope = config_.rope_parameters;
    std::string text = fmt::format("{}, theta {}", rope.rope_type, rope.rope_theta);
    if (rope.rope_type != "default") text += fmt::format(", factor {}", rope.factor);
    if (rope.rope_type == "yarn") {
      text += fmt::format(
          " from {} tokens, beta {} to {}",
          rope.original_max_position_embeddings.value_or(config_.max_position_embeddings),
          rope.beta_slow, rope.beta_fast);
      if (rope.mscale) text += fmt::format(", mscale {}", *rope.mscale);
      if (rope.mscale_all_dim) text += fmt::format(", mscale_all_dim {}", *rope.mscale_all_dim);
    }
    return text + (config_.rope_interleave ? ", interleaved pairs" : ", pairs half a head apart");
  }
  std::string quantisation() const {
    if (checkpoint_ && checkpoint_->gguf_metadata() != nullptr) return "GGUF, types as below";
    if (!config_.quantization_config)
      return config_.dtype.empty() ? "none" : "none (" + config_.dtype + ")";
    const QuantizationConfig& q = *config_.quantization_config;
    return fmt::format("{} {}, blocks of {} x {}, {} scales, activations {}", q.quant_method, q.fmt,
                       q.block_rows, q.block_cols, q.scale_fmt.empty() ? "float32" : q.scale_fmt,
                       q.activation_scheme);
  }

  fs::path path_;
  DeepseekV3Config config_;
  model::Head head_;
  ModelSizes sizes_;
  std::optional<Checkpoint> checkpoint_;
  std::map<std::string, DTypeTotal> dtypes_;
  std::vector<std::string> tokenizer_files_;
};

int inspect(const InspectOptions& options) {
  const Inspection inspection(options.model);
  if (options.json) {
    write_out(json_line(inspection.to_json()));
  } else {
    write_out(options.tensors ? inspection.tensor_list() : inspection.to_text());
  }
  return kDone;
}

}  // namespace

void add_inspect_command(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("inspect", "Show what a checkpoint is: sizes, types, tensors");
  auto options = std::make_shared<InspectOptions>();
  command
      ->add_option("MODEL", options->model,
                   "folder of a checkpoint, a GGUF file, or a config.json alone")
      ->required();
  command->add_flag("--tensors", options->tensors,
                    "list name, type, shape, bytes and file of every tensor");
  command->add_flag("--json", options->json, "everything as one JSON object");
  command->footer(R"(
Reads config.json and the headers of the safetensors files, or those of GGUF files, not the weights.

Examples:
  dsv3 inspect models/stories
  dsv3 inspect ~/models/DeepSeek-V3 --tensors | less
  dsv3 inspect ~/models/DeepSeek-V3/config.json
  dsv3 inspect model.gguf
  dsv3 inspect models/stories --json)");
  command->callback([options, &action] { action = [options] { return inspect(*options); }; });
}

}  // namespace dsv3::cli
