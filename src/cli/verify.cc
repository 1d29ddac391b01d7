// dsv3 verify: whether a checkpoint is whole and sane.

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/gguf.h"
#include "cli/commands.h"
#include "cli/compare.h"
#include "cli/console.h"
#include "cli/engine_options.h"
#include "cli/forward_call.h"
#include "cli/model_sizes.h"
#include "cli/tensor_scan.h"
#include "cli/units.h"
#include "model/tensor_map.h"
#include "training/token_shard.h"

namespace dsv3::cli {
namespace {

namespace fs = std::filesystem;

struct VerifyOptions {
  fs::path model;
  bool headers_only = false;
  fs::path against;
  EngineOptions engine;
};

std::string describe(const TensorFinding& f) {
  const ScanResult& r = f.result;
  std::vector<std::string> parts;
  if (r.nan > 0) parts.push_back(fmt::format("{} NaN", with_commas(r.nan)));
  if (r.infinite > 0) parts.push_back(fmt::format("{} infinite", with_commas(r.infinite)));
  const bool not_positive = is_scale(f.name) && r.not_positive > 0;
  if (not_positive) parts.push_back(fmt::format("{} not positive", with_commas(r.not_positive)));
  int64_t first = r.first_bad;
  if (not_positive && (first < 0 || r.first_not_positive < first)) first = r.first_not_positive;
  return fmt::format("{}: tensor '{}' {} {}: {}, the first at {}", f.shard, f.name,
                     dtype_name(f.dtype), shape_string(f.shape), fmt::join(parts, ", "),
                     position_string(f.shape, first));
}

/// Goes through the checks and prints a line for each; problems follow at the end.
class Verification {
 public:
  explicit Verification(const VerifyOptions& options) : options_(options) {}

  int run() {
    if (fs::is_regular_file(options_.model) && !is_gguf_file(options_.model)) {
      fail("{}: expected the folder of a checkpoint or a GGUF file, found another file",
           options_.model.string());
    }
    std::optional<DeepseekV3Config> config;
    check("config", [&] {
      config = DeepseekV3Config::from_file(options_.model);
      return fmt::format("{}, {} layers", class_name(head_of(*config)), config->num_hidden_layers);
    });
    std::optional<Checkpoint> checkpoint;
    check("files", [&] {
      checkpoint =
          Checkpoint::open(options_.model, options_.headers_only ? Checkpoint::Mode::kHeaderOnly
                                                                 : Checkpoint::Mode::kMapped);
      return fmt::format("{} tensors, {}, in {} file{}",
                         with_commas(static_cast<int64_t>(checkpoint->names().size())),
                         short_bytes(static_cast<int64_t>(checkpoint->total_bytes())),
                         checkpoint->shards().size(), checkpoint->shards().size() == 1 ? "" : "s");
    });
    if (config && checkpoint) check("tensors", [&] { return check_tensors(*config, *checkpoint); });
    if (checkpoint && !options_.headers_only)
      check("values", [&] { return check_values(*checkpoint); });
    if (!options_.against.empty() && problems_.empty())
      check("results", [&] { return check_results(*config); });
    return finish();
  }

 private:
  /// `f` returns what to print, and adds problems or throws Error.
  template <typename F>
  void check(const char* name, F&& f) {
    const size_t before = problems_.size();
    std::string summary;
    try {
      summary = f();
    } catch (const Error& error) {
      problems_.push_back(error.what());
    }
    clear_progress();
    const size_t found = problems_.size() - before;
    if (found > 0) summary = fmt::format("{} problem{}", found, found == 1 ? "" : "s");
    write_out(fmt::format("{:<8} {}\n", name, summary));
    flush_out();
  }

  std::string check_tensors(const DeepseekV3Config& config, const Checkpoint& checkpoint) {
    // Official releases say how many MTP modules there are and ship them; conversions often drop
    // the weights.
    model::ModelWeights weights;
    const bool mtp = model::has_mtp_weights(config, checkpoint);
    const model::TensorMap map = map_tensors(config, head_of(config), mtp, checkpoint, weights);
    for (const std::string& name : map.missing)
      problems_.push_back(fmt::format("missing tensor '{}'", name));
    for (const std::string& text : map.mismatched) problems_.push_back(text);
    if (!map.unexpected.empty()) {
      warnings_.push_back(fmt::format("tensors that are not used: {}, the first of them '{}'",
                                      map.unexpected.size(), map.unexpected.front()));
    }
    if (!mtp && config.num_nextn_predict_layers > 0) {
      warnings_.push_back(fmt::format(
          "config.json says num_nextn_predict_layers {}, but there are no weights of layer {}",
          config.num_nextn_predict_layers, config.num_hidden_layers));
    }
    return fmt::format("names, shapes and types as {}{} wants them", class_name(head_of(config)),
                       mtp ? " with multi-token prediction" : "");
  }

  std::string check_values(const Checkpoint& checkpoint) {
    int64_t scales = 0;
    for (const std::string& name : checkpoint.names()) scales += is_scale(name) ? 1 : 0;
    for (const TensorFinding& finding : scan_checkpoint(checkpoint))
      problems_.push_back(describe(finding));
    return scales == 0
               ? "all finite"
               : fmt::format("all finite, {} tensors of scales positive", with_commas(scales));
  }

  /// Makes the call of a folder of reference data and compares what comes out.
  std::string check_results(const DeepseekV3Config& config) {
    const fs::path& folder = options_.against;
    Call call{.class_name = std::string(class_name(head_of(config))),
              .method = "forward",
              .kwargs = Json::object()};
    Json description = Json::object();
    if (fs::exists(folder / "call.json")) {
      call = read_call(folder / "call.json");
      description = read_json_file(folder / "call.json");
    }
    const bool dynamic = options_.engine.fp8_activations == "dynamic" &&
                         fs::exists(folder / "expected_dynamic.safetensors");
    const Tensors expected =
        read_tensors(folder / (dynamic ? "expected_dynamic.safetensors" : "expected.safetensors"));
    const Tensors found =
        run_call(options_.model, call, read_tensors(folder / "inputs.safetensors"),
                 options_.engine.load_options());
    const std::vector<Comparison> comparisons = compare(
        found, expected, description.value(dynamic ? "tolerance_dynamic" : "tolerance", Json()));
    clear_progress();
    bool judged = false;
    for (const Comparison& c : comparisons) {
      write_out(c.to_text() + "\n");
      judged |= c.share_of_tolerance.has_value() || !c.problem.empty() || c.at < 0;
      if (!c.good())
        problems_.push_back(fmt::format("{} differs from {}", c.name, folder.string()));
    }
    return fmt::format("{} tensor{} compared with {}{}", comparisons.size(),
                       comparisons.size() == 1 ? "" : "s", folder.string(),
                       judged ? "" : "; no tolerance is given there");
  }

  int finish() const {
    for (const std::string& text : warnings_) note("warning: " + text);
    if (problems_.empty()) {
      write_out("OK\n");
      return kDone;
    }
    write_out("\n");
    constexpr size_t kShown = 100;
    for (size_t i = 0; i < std::min(kShown, problems_.size()); ++i) {
      write_out("- " + problems_[i] + "\n");
    }
    if (problems_.size() > kShown) {
      write_out(fmt::format("... and {} more\n", problems_.size() - kShown));
    }
    flush_out();
    fail("{}: {} problem{}", options_.model.string(), problems_.size(),
         problems_.size() == 1 ? "" : "s");
  }

  const VerifyOptions& options_;
  std::vector<std::string> problems_;
  std::vector<std::string> warnings_;
};

bool has_token_shards(const fs::path& path) {
  std::error_code ec;
  if (!fs::is_directory(path, ec)) return path.extension() == training::kShardExtension;
  return std::any_of(
      fs::directory_iterator(path, ec), fs::directory_iterator(),
      [](const auto& entry) { return entry.path().extension() == training::kShardExtension; });
}

int verify_token_shards(const fs::path& path) {
  int64_t tokens = 0, documents = 0;
  const auto shards = training::find_shards({path});
  for (size_t i = 0; i < shards.size(); ++i) {
    const auto shard = training::TokenShard::open(shards[i]);
    shard.verify();
    tokens += shard.num_tokens();
    documents += shard.num_documents();
    report_progress("verifying", static_cast<int64_t>(i) + 1, static_cast<int64_t>(shards.size()));
  }
  clear_progress();
  write_out(fmt::format("{:<8} {} tokens in {} documents, {} shard{}\nOK\n", "tokens",
                        with_commas(tokens), with_commas(documents), shards.size(),
                        shards.size() == 1 ? "" : "s"));
  return kDone;
}

}  // namespace

void add_verify_command(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("verify", "Check that a checkpoint is whole and its numbers are finite");
  auto options = std::make_shared<VerifyOptions>();
  command
      ->add_option("MODEL", options->model, "folder of a checkpoint, a GGUF file, or token shards")
      ->required();
  command->add_flag("--headers-only", options->headers_only, "leave the numbers unread");
  command
      ->add_option("--against", options->against,
                   "folder with inputs.safetensors, expected.safetensors and perhaps call.json: "
                   "make this call and compare")
      ->type_name("FOLDER");
  add_engine_options(*command, options->engine, true);
  command->footer(R"(
Checks config.json, that every tensor is there with the right name, shape and type, that no number is NaN
or infinite and that FP8 scales are positive. Ends with OK, or with a list of problems and exit code 1.

Token shards of dsv3 prepare (a *.tokens file, or a folder of them) are read whole: checksums, tokens in the
vocabulary, documents in order.

Examples:
  dsv3 verify models/stories
  dsv3 verify ~/models/DeepSeek-V3 --headers-only
  dsv3 verify data/train
  dsv3 verify tests/golden/yarn_v5/model --against tests/golden/yarn_v5)");
  command->callback([options, &action] {
    action = [options] {
      apply_processor_options(options->engine);
      if (has_token_shards(options->model)) return verify_token_shards(options->model);
      return Verification(*options).run();
    };
  });
}

}  // namespace dsv3::cli
