// dsv3 bench: how fast a model runs, beside what the machine could do.

#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "benchmark/random_model.h"
#include "benchmark/runner.h"
#include "checkpoint/gguf.h"
#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/engine_options.h"
#include "model/pretrained.h"

namespace dsv3::cli {
namespace {

namespace fs = std::filesystem;
using benchmark::Case;
using benchmark::Limits;
using benchmark::Measurement;

struct BenchOptions {
  std::vector<fs::path> models, random;
  std::string type = "Q8_0";
  std::string prompts = "512", generated = "128", depths = "0", batches = "1", threads;
  int repetitions = 5;
  std::string form = "md";
  bool profile = false;
  bool no_limits = false;
  EngineOptions engine;
};

class Bench {
 public:
  explicit Bench(const BenchOptions& options) : options_(options) {}

  int run() {
    apply_processor_options(options_.engine);
    if (options_.models.empty() && options_.random.empty()) {
      throw UsageError("no model: give -m MODEL or --random CONFIG");
    }
    read_cases();
    require_models();
    report_ = bench_report(options_.form);
    const InterruptGuard guard;
    try {
      measure_limits();
      begin_report();
      for (const fs::path& path : options_.models) {
        measure(DeepseekV3ForCausalLM::from_pretrained(path, options_.engine.load_options()),
                name_of(path), path);
      }
      for (const fs::path& path : options_.random) {
        measure(benchmark::random_model(DeepseekV3Config::from_file(path), options_.type,
                                        options_.engine.load_options()),
                random_name(path), path);
      }
    } catch (const Stopped&) {
    }
    clear_progress();
    report_->end();
    return interrupted() ? kInterrupted : kDone;
  }

 private:
  struct Stopped {};

  static std::vector<int64_t> numbers(const char* option, const std::string& text, int64_t least) {
    try {
      return benchmark::parse_numbers(text, least);
    } catch (const Error& error) {
      throw UsageError(fmt::format("{}: {}", option, error.what()));
    }
  }

  void read_cases() {
    benchmark::CaseLists lists{.prompts = numbers("-p", options_.prompts, 0),
                               .generated = numbers("-n", options_.generated, 0),
                               .depths = numbers("-d", options_.depths, 0),
                               .batches = numbers("-b", options_.batches, 1),
                               .threads = {thread_pool().size()}};
    if (!options_.threads.empty()) {
      lists.threads = numbers("-t", options_.threads, 1);
      for (const int64_t t : lists.threads) {
        if (t > 4096) throw UsageError(fmt::format("-t: {} threads are more than 4096", t));
      }
    }
    cases_ = expand(lists);
    if (cases_.empty()) throw UsageError("nothing to measure: -p and -n are both 0");
  }

  /// What is wrong with a model or too large for it should not take minutes to be said.
  void require_models() const {
    for (const fs::path& path : options_.models) {
      if (!fs::exists(path)) fail("{}: no such file or folder", path.string());
      if (fs::is_regular_file(path) && !is_gguf_file(path)) {
        fail("{}: expected the folder of a checkpoint or a GGUF file, found another file",
             path.string());
      }
      require_room(path);
    }
    for (const fs::path& path : options_.random) require_room(path);
    if (options_.random.empty()) return;
    const auto types = benchmark::random_model_types();
    if (std::find(types.begin(), types.end(), options_.type) == types.end()) {
      throw UsageError(
          fmt::format("--type: '{}' is none of {}", options_.type, fmt::join(types, ", ")));
    }
  }

  void require_room(const fs::path& path) const {
    const DeepseekV3Config config = DeepseekV3Config::from_file(path);
    for (const Case& c : cases_) {
      if (c.length() <= config.max_position_embeddings) continue;
      fail("{}: {} needs {} tokens, the model's context has {} (max_position_embeddings)",
           path.string(), c.name(), c.length(), config.max_position_embeddings);
    }
  }

  static std::string name_of(const fs::path& path) {
    const fs::path full = fs::absolute(path).lexically_normal();
    const fs::path last = full.has_filename() ? full.filename() : full.parent_path().filename();
    return last.extension() == ".gguf" ? last.stem().string() : last.string();
  }

  std::string random_name(const fs::path& path) const {
    const fs::path full = fs::absolute(path).lexically_normal();
    const bool generic = full.filename() == "config.json";
    return fmt::format("{} {}", generic ? name_of(full.parent_path()) : full.stem().string(),
                       options_.type);
  }

  void measure_limits() {
    if (options_.no_limits) return;
    for (const Case& c : cases_) {
      if (limits_.contains(c.threads)) continue;
      set_num_threads(c.threads);
      report_progress("measuring the machine", static_cast<int64_t>(limits_.size()),
                      static_cast<int64_t>(cases_.size()));
      limits_[c.threads] = benchmark::measure_limits();
      if (interrupted()) throw Stopped();
    }
  }

  void begin_report() {
    std::vector<std::string> models, tests;
    for (const fs::path& path : options_.models) models.push_back(name_of(path));
    for (const fs::path& path : options_.random) models.push_back(random_name(path));
    for (const Case& c : cases_) tests.push_back(c.name());
    std::vector<Limits> limits;
    for (const auto& [threads, l] : limits_) limits.push_back(l);
    report_->begin(models, tests, limits);
    flush_out();
  }

  void measure(const DeepseekV3ForCausalLM& model, const std::string& name, const fs::path& path) {
    clear_progress();
    const benchmark::WorkCounter counter(model.loaded(), 0);
    const bool fast = options_.engine.load_options().precision == Precision::kFast;
    const DType type = model.loaded().weights.layers[0].self_attn.kv_a_proj_with_mqa.weight.dtype();
    const BenchModel described{.name = name,
                               .path = path.string(),
                               .type = std::string(dtype_name(type)),
                               .bytes = counter.weight_bytes(),
                               .parameters = counter.parameters(),
                               .active_parameters = counter.active_parameters(),
                               .cache_type = std::string(dtype_name(options_.engine.cache_type())),
                               .precision = fast ? "fast" : "float32",
                               .integers_apply = fast && is_block_format(type)};
    const benchmark::Runner runner(model, {.cache_dtype = options_.engine.cache_type(),
                                           .prefill_chunk = options_.engine.prefill_chunk,
                                           .repetitions = options_.repetitions,
                                           .profile = options_.profile});
    for (const Case& c : cases_) {
      if (thread_pool().size() != c.threads) set_num_threads(c.threads);
      const Measurement m = runner.run(c, [&](int repetition) {
        report_progress(c.name(), repetition, options_.repetitions + 2);
        if (interrupted()) throw Stopped();
      });
      clear_progress();
      const auto limits = limits_.find(c.threads);
      report_->add(described, m, limits != limits_.end() ? &limits->second : nullptr);
    }
  }

  const BenchOptions& options_;
  std::vector<Case> cases_;
  std::map<int, Limits> limits_;
  std::unique_ptr<BenchReport> report_;
};

}  // namespace

void add_bench_command(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("bench", "Measure the speed of models and of the machine");
  auto options = std::make_shared<BenchOptions>();
  command
      ->add_option("-m,--model", options->models,
                   "folder of a model, or a GGUF file; may be given several times")
      ->type_name("MODEL")
      ->expected(1)
      ->take_all();
  command
      ->add_option(
          "--random", options->random,
          "instead: random weights for this config.json (or folder with one, or GGUF file)")
      ->type_name("CONFIG")
      ->expected(1)
      ->take_all();
  command
      ->add_option(
          "--type", options->type,
          "of random weights: F32, BF16, F8_E4M3, Q8_0, Q4_K_M and other names of llama.cpp")
      ->type_name("TYPE")
      ->capture_default_str();
  const auto list = [&](const char* name, std::string& value, const char* help) {
    return command->add_option(name, value, help)->type_name("LIST")->capture_default_str();
  };
  list("-p,--n-prompt", options->prompts, "tokens of a prompt");
  list("-n,--n-gen", options->generated, "tokens to decode");
  list("-d,--n-depth", options->depths, "tokens that are in the cache before");
  list("-b,--batch", options->batches, "sequences to decode together");
  command->add_option("-r,--repetitions", options->repetitions, "timed runs of each test")
      ->type_name("N")
      ->check(CLI::Range(1, 100000).description(""))
      ->capture_default_str();
  command
      ->add_option("-o,--output", options->form,
                   "aligned table, JSON with every repetition, or CSV")
      ->check(CLI::IsMember({"md", "json", "csv"}).description(""))
      ->type_name("md|json|csv")
      ->capture_default_str();
  command->add_flag("--profile", options->profile,
                    "time of each operator, in one more repetition of each test");
  command->add_flag("--no-limits", options->no_limits, "do not measure the machine");
  options->engine.huge_pages = "on";
  add_engine_options(*command, options->engine);
  add_cache_options(*command, options->engine);
  // Here a list; and caches are as large as the test.
  command->remove_option(command->get_option("--threads"));
  command->remove_option(command->get_option("--context"));
  list("-t,--threads", options->threads,
       "threads to compute with; default: all that this process may use");
  command->footer(R"(
Every combination of -p or -n with -d, -b and -t is a test, named as llama-bench names it: pp512
reads a prompt of 512 tokens, tg64 decodes 64 tokens one after the other, "@ d4096" says that 4096
tokens are in the cache already, "x8" that 8 sequences are decoded together (tokens/s of all).
Tokens are random and nothing is sampled. A test runs once before it is timed; its speed is the
median of the repetitions. Lists: 128,512 or 0-4096+1024 or 1-8*2; 0 leaves -p or -n out.

GB/s is what a test must read at least: weights (of experts those that were really chosen) and
caches. TFLOP/s counts what it must calculate. The shares are of the speeds measured just before:
memory read by as many threads, and the fastest arithmetic for the type of the weights.
docs/PERFORMANCE.md has more.

Examples:
  dsv3 bench -m models/stories -p 128 -n 32
  dsv3 bench -m model.gguf -p 128,512 -n 64 -d 0,4096 -b 1,8 -t 1,2 -r 5
  dsv3 bench -m model.gguf -p 0 -n 64 --profile
  dsv3 bench -m a.gguf -m b.gguf -o json > results.json
  dsv3 bench --random ~/models/DeepSeek-V3/config.json --type Q4_K_M -n 8)");
  command->callback([options, &action] { action = [options] { return Bench(*options).run(); }; });
}

}  // namespace dsv3::cli
