#include "benchmark/runner.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "base/error.h"
#include "model/pretrained.h"

namespace dsv3::benchmark {
namespace {

using Clock = std::chrono::steady_clock;
using generation::EngineLm;
using generation::SequenceState;
using generation::Step;

/// Values as normalised latents and rotated keys have them.
void fill_with_noise(model::LatentCache& cache, int64_t width, int64_t length, uint32_t seed) {
  std::minstd_rand random(seed);
  std::uniform_real_distribution<float> uniform(-1.7f, 1.7f);  // of variance one
  std::vector<float> values(static_cast<size_t>(16 * width));
  for (float& x : values) x = uniform(random);
  cache.prepare(length);
  std::uniform_int_distribution<int64_t> offset(0, 15 * width);
  for (int64_t layer = 0; layer < cache.num_layers(); ++layer) {
    for (int64_t t = 0; t < length; ++t) cache.store(layer, t, values.data() + offset(random));
  }
  cache.commit(length);
}

/// The sequences of a case, and its repetitions.
class Trial {
 public:
  Trial(const DeepseekV3ForCausalLM& model, const RunnerOptions& options, const Case& what)
      : what_(what),
        chunk_(options.prefill_chunk),
        engine_(model, {options.cache_dtype, what.length()}),
        logits_(static_cast<size_t>(what.batch * engine_.vocab_size())) {
    const DeepseekV3Config& c = model.config();
    for (int64_t i = 0; i < what.batch; ++i) {
      sequences_.push_back(engine_.new_sequence());
      if (what.depth == 0) continue;
      fill_with_noise(cache(i), c.kv_lora_rank + c.qk_rope_head_dim, what.depth,
                      static_cast<uint32_t>(i) + 1);
    }
    std::minstd_rand random(1);
    std::uniform_int_distribution<int64_t> id(0, c.vocab_size - 1);
    ids_.resize(static_cast<size_t>(what.tokens()));
    for (int64_t& x : ids_) x = id(random);
  }

  EngineLm& engine() { return engine_; }
  double cache_bytes_per_token() {
    const int64_t pages = (what_.length() + ops::kPageTokens - 1) / ops::kPageTokens;
    return static_cast<double>(cache(0).bytes()) / static_cast<double>(pages * ops::kPageTokens);
  }

  /// Passes of a repetition, without the experts.
  std::vector<Pass> passes() const {
    std::vector<Pass> passes;
    for (int64_t done = 0; done < what_.prompt; done += chunk_) {
      const int64_t n = std::min(chunk_, what_.prompt - done);
      passes.push_back({.sequences = {{what_.depth + done, n}}, .experts_used = {}});
    }
    for (int64_t i = 0; i < what_.generated; ++i) {
      passes.push_back({.sequences = {static_cast<size_t>(what_.batch), {what_.depth + i, 1}},
                        .experts_used = {}});
    }
    return passes;
  }

  /// Seconds of one repetition. Leaves the sequences at the depth.
  double run() {
    const auto begin = Clock::now();
    const std::span<const int64_t> ids(ids_);
    for (int64_t done = 0; done < what_.prompt; done += chunk_) {
      const int64_t n = std::min(chunk_, what_.prompt - done);
      const Step step{sequences_[0].get(),
                      ids.subspan(static_cast<size_t>(done), static_cast<size_t>(n))};
      engine_.forward(std::span(&step, 1), logits_);
    }
    std::vector<Step> steps(sequences_.size());
    for (int64_t i = 0; i < what_.generated; ++i) {
      for (size_t b = 0; b < steps.size(); ++b) {
        const size_t at = static_cast<size_t>(i) * steps.size() + b;
        steps[b] = {sequences_[b].get(), ids.subspan(at, 1)};
      }
      engine_.forward(steps, logits_);
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    for (auto& sequence : sequences_) sequence->crop(what_.depth);
    return seconds;
  }

 private:
  model::LatentCache& cache(int64_t i) {
    return EngineLm::cache_of(*sequences_[static_cast<size_t>(i)]);
  }

  const Case& what_;
  int64_t chunk_;
  EngineLm engine_;
  std::vector<std::unique_ptr<SequenceState>> sequences_;
  std::vector<int64_t> ids_;
  std::vector<float> logits_;
};

/// Counts the different experts of each layer and pass while it lives.
class ExpertObserver {
 public:
  ExpertObserver(EngineLm& engine, const DeepseekV3Config& config, std::vector<Pass>& passes)
      : engine_(engine), config_(config), passes_(passes) {
    model::ForwardObserver observer;
    observer.layer_input = [this](int64_t layer, Matrix) {
      if (layer == 0) ++passes_seen_;
    };
    observer.routing = [this](int64_t layer, const ops::Routing& routing) {
      count(layer, routing);
    };
    engine_.observe(std::move(observer));
  }
  ~ExpertObserver() { engine_.observe({}); }
  ExpertObserver(const ExpertObserver&) = delete;
  ExpertObserver& operator=(const ExpertObserver&) = delete;

 private:
  void count(int64_t layer, const ops::Routing& routing) {
    std::vector<uint8_t> used(static_cast<size_t>(config_.n_routed_experts), 0);
    for (const int32_t e : routing.experts) used[static_cast<size_t>(e)] = 1;
    auto& counts = passes_[passes_seen_ - 1].experts_used;
    counts.resize(static_cast<size_t>(config_.num_hidden_layers), 0);
    counts[static_cast<size_t>(layer)] = std::count(used.begin(), used.end(), 1);
  }

  EngineLm& engine_;
  const DeepseekV3Config& config_;
  std::vector<Pass>& passes_;
  size_t passes_seen_ = 0;
};

}  // namespace

std::vector<double> Measurement::rates() const {
  std::vector<double> rates;
  for (const double s : seconds) rates.push_back(static_cast<double>(what.tokens()) / s);
  return rates;
}

Runner::Runner(const DeepseekV3ForCausalLM& model, const RunnerOptions& options)
    : model_(model), options_(options) {}

void Runner::require_room(const Case& what) const {
  const int64_t context = model_.config().max_position_embeddings;
  if (what.length() <= context) return;
  fail("{} needs {} tokens, more than the model's context of {} (max_position_embeddings)",
       what.name(), what.length(), context);
}

Measurement Runner::run(const Case& what, const std::function<void(int)>& progress) const {
  require_room(what);
  Measurement result{.what = what, .seconds = {}, .work = {}, .passes = 0, .profile = {}};
  Trial trial(model_, options_, what);
  std::vector<Pass> passes = trial.passes();
  result.passes = static_cast<int64_t>(passes.size());
  progress(0);
  {
    const ExpertObserver observer(trial.engine(), model_.config(), passes);
    trial.run();
  }
  const WorkCounter counter(model_.loaded(), trial.cache_bytes_per_token());
  for (const Pass& pass : passes) result.work += counter.of(pass);

  for (int i = 1; i <= options_.repetitions; ++i) {
    progress(i);
    result.seconds.push_back(trial.run());
  }
  if (options_.profile) {
    progress(options_.repetitions + 1);
    profile::start();
    trial.run();
    result.profile = profile::stop();
  }
  return result;
}

}  // namespace dsv3::benchmark
