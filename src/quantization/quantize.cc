#include "quantization/quantize.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <regex>
#include <span>

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "checkpoint/gguf_writer.h"
#include "formats/block_format.h"
#include "formats/float_formats.h"
#include "model/gguf_config.h"
#include "model/gguf_export.h"
#include "model/tensor_map.h"
#include "quantization/imatrix.h"
#include "quantization/mixture.h"
#include "text/tokenizer_gguf.h"

namespace dsv3::quantization {
namespace {

namespace fs = std::filesystem;
using model::GgufTensor;
using model::TensorRole;

constexpr int64_t kTileBytes = 4 << 20;  // of float32, that a thread has at a time

bool stays_float32(TensorRole role) {
  return role == TensorRole::kNorm || role == TensorRole::kBias ||
         role == TensorRole::kCorrectionBias || role == TensorRole::kRouter;
}

// "F8_E4M3", or "F32+BF16" for experts of several types.
std::string source_types(const GgufTensor& t) {
  std::vector<std::string_view> names;
  for (const ops::LinearWeight& part : t.parts) {
    const std::string_view name = dtype_name(part.weight.dtype());
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  return fmt::format("{}", fmt::join(names, "+"));
}

class TypeChoice {
 public:
  TypeChoice(const QuantizeOptions& options, const MixtureModel& model)
      : options_(options), mixture_(Mixture::named(options.mixture)), model_(model) {
    for (const TypeOverride& o : options.overrides) {
      try {
        patterns_.emplace_back(o.pattern);
      } catch (const std::regex_error& e) {
        fail("'{}' is no regular expression: {}", o.pattern, e.what());
      }
    }
  }

  const Mixture& mixture() const { return mixture_; }

  DType operator()(const GgufTensor& t) const {
    if (stays_float32(t.role)) return DType::kF32;
    for (size_t i = 0; i < patterns_.size(); ++i) {
      if (std::regex_search(t.name, patterns_[i])) return exactly(t, options_.overrides[i].type);
    }
    if (options_.output_type && t.name == "output.weight") return exactly(t, *options_.output_type);
    if (options_.embedding_type && t.name == "token_embd.weight")
      return exactly(t, *options_.embedding_type);
    const DType type = options_.pure ? mixture_.base() : mixture_.type_of(model_, t.name, t.layer);
    return fitting_type(type, t.cols());
  }

 private:
  // A type that somebody asked for.
  static DType exactly(const GgufTensor& t, DType type) {
    if (!is_block_format(type) && type != DType::kF32 && type != DType::kF16 &&
        type != DType::kBF16) {
      fail("{}: {} is no type for weights of a GGUF file", t.name, dtype_name(type));
    }
    const int64_t elements = dtype_block(type).elements;
    if (t.cols() % elements != 0) {
      fail("{}: {} needs rows of a multiple of {} elements, found {}", t.name, dtype_name(type),
           elements, t.cols());
    }
    return type;
  }

  const QuantizeOptions& options_;
  Mixture mixture_;
  MixtureModel model_;
  std::vector<std::regex> patterns_;
};

// Largest magnitude that F16 has, and so the scales of the block formats.
constexpr float kLargest = 65504.0f;

void require_encodable(const GgufTensor& t, int64_t row, std::span<const float> values, DType to) {
  const bool narrow = to != DType::kF32 && to != DType::kBF16;
  for (size_t i = 0; i < values.size(); ++i) {
    const bool too_large = narrow && std::fabs(values[i]) > kLargest;
    if (std::isfinite(values[i]) && !too_large) continue;
    const auto at = row * t.cols() + static_cast<int64_t>(i);
    fail("tensor '{}': row {}, column {} is {}{}", t.name, at / t.cols(), at % t.cols(), values[i],
         std::isfinite(values[i])
             ? fmt::format(", more than {} can hold ({}); BF16 can", dtype_name(to), kLargest)
             : "");
  }
}

// A matrix of float32 rows in a type.
void encode_rows(std::span<const float> values, int64_t cols, DType to,
                 std::span<const float> importance, std::byte* out) {
  const auto n = static_cast<int64_t>(values.size());
  if (is_block_format(to)) {
    const formats::BlockFormat& format = formats::block_format(to);
    const size_t row_bytes = dtype_bytes(to, cols);
    for (int64_t r = 0; r * cols < n; ++r) {
      format.encode(values.data() + r * cols, cols,
                    importance.empty() ? nullptr : importance.data(), out + r * row_bytes);
    }
    return;
  }
  const auto put = [&](auto convert) {
    for (int64_t i = 0; i < n; ++i) {
      const auto x = convert(values[i]);
      std::copy_n(reinterpret_cast<const std::byte*>(&x), sizeof x, out + i * sizeof x);
    }
  };
  if (to == DType::kF16) return put(formats::float_to_f16);
  if (to == DType::kBF16) return put(formats::float_to_bf16);
  put([](float x) { return x; });
}

// A run of rows of one matrix (an expert, or a head), that one thread turns into bytes.
struct Task {
  int64_t matrix, begin, end;
};

int64_t matrices_of(const GgufTensor& t) { return t.shape.size() == 3 ? t.shape[0] : 1; }

std::vector<Task> tasks_of(const GgufTensor& t) {
  const int64_t matrices = matrices_of(t), matrix_rows = t.rows() / matrices;
  int64_t tile = std::max<int64_t>(1, kTileBytes / (4 * t.cols()));
  // These are made a head at a time.
  if (t.layout == GgufTensor::Layout::kJoined) tile = std::max(tile, t.mla.kv_head_rows());
  if (t.layout == GgufTensor::Layout::kKeyHalf) tile = matrix_rows;
  std::vector<Task> tasks;
  for (int64_t m = 0; m < matrices; ++m) {
    const int64_t first = m * matrix_rows, last = first + matrix_rows;
    for (int64_t r = first; r < last; r += tile) tasks.push_back({m, r, std::min(last, r + tile)});
  }
  return tasks;
}

class Progress {
 public:
  explicit Progress(int64_t total) : total_(total) {}
  void add(int64_t n) {
    const std::lock_guard lock(mutex_);
    done_ += n;
    report_progress("quantising", done_, total_);
  }

 private:
  std::mutex mutex_;
  int64_t done_ = 0, total_;
};

void write_tensor(const GgufTensor& t, DType to, const ImportanceMatrix& imatrix,
                  GgufWriter& writer, Progress& progress) {
  const size_t row_bytes = dtype_bytes(to, t.cols());
  const std::vector<Task> tasks = tasks_of(t);
  const bool copy = t.stored_type() == to;
  std::vector<std::vector<float>> importance(matrices_of(t));
  if (is_block_format(to)) {
    for (size_t m = 0; m < importance.size(); ++m) {
      importance[m] = imatrix.importance(t.name, t.shape, static_cast<int64_t>(m));
    }
  }
  thread_pool().parallel_for(static_cast<int64_t>(tasks.size()), [&](int64_t i) {
    const auto [matrix, begin, end] = tasks[i];
    const int64_t rows = end - begin;
    if (copy) {
      writer.write_part(t.name, begin * row_bytes,
                        {static_cast<const std::byte*>(t.stored_rows(begin)), rows * row_bytes});
    } else {
      std::vector<float> values(rows * t.cols());
      t.decode(begin, end, values.data());
      require_encodable(t, begin, values, to);
      std::vector<std::byte> bytes(rows * row_bytes);
      encode_rows(values, t.cols(), to, importance[matrix], bytes.data());
      writer.write_part(t.name, begin * row_bytes, bytes);
    }
    // The pages have been read for the only time; a tensor may be larger than memory.
    if (t.layout == GgufTensor::Layout::kStacked) {
      release_mapped(t.stored_rows(begin),
                     dtype_bytes(t.parts[0].weight.dtype(), rows * t.cols()));
    }
    progress.add(rows * t.cols());
  });
  for (const ops::LinearWeight& part : t.parts) {
    release_mapped(part.weight.raw(), part.weight.bytes());
  }
}

// The keys of a GGUF source, or those that a folder gives.
GgufMetadata source_metadata(const fs::path& source, const Checkpoint& checkpoint,
                             const QuantizeOptions& options, int64_t vocab_size) {
  if (const GgufMetadata* found = checkpoint.gguf_metadata()) {
    GgufMetadata metadata = *found;
    for (const char* key : {kGgufSplitNumberKey, kGgufSplitCountKey, kGgufSplitTensorsKey}) {
      metadata.erase(key);
    }
    return metadata;
  }
  GgufMetadata metadata(source.string());
  metadata.set(kGgufArchitectureKey, std::string(model::kGgufArchitecture));
  metadata.set("general.type", std::string("model"));
  const fs::path folder = fs::is_directory(source) ? source : source.parent_path();
  metadata.set("general.name", fs::weakly_canonical(folder).filename().string());
  if (!options.with_tokenizer) return metadata;
  if (!fs::exists(folder / "tokenizer.json") && !fs::exists(folder / "tiktoken.model")) {
    warn("{}: no tokenizer.json or tiktoken.model, so the file will hold no tokenizer",
         folder.string());
    return metadata;
  }
  const GgufMetadata tokenizer =
      TokenizerGguf::make(folder, {.pre = options.tokenizer_pre, .vocab_size = vocab_size});
  for (const auto& [key, value] : tokenizer.entries()) metadata.set(key, value);
  return metadata;
}

// An importance matrix of another model would be of no use, silently.
void require_some_match(const ImportanceMatrix& imatrix, std::span<const GgufTensor> tensors,
                        const fs::path& path) {
  const auto has = [&](const GgufTensor& t) { return imatrix.tensors.contains(t.name); };
  const auto found = std::ranges::count_if(tensors, has);
  if (found == 0) fail("{}: has no tensor of this model", path.string());
  std::vector<std::string> without;
  for (const GgufTensor& t : tensors) {
    if (t.role == TensorRole::kLinear && imatrix.importance(t.name, t.shape, 0).empty())
      without.push_back(t.name);
  }
  if (without.empty()) return;
  warn("{}: nothing is known of {} tensors, the first of them '{}'; they are rounded without it",
       path.string(), without.size(), without.front());
}

}  // namespace

QuantizeReport quantize(const fs::path& source, const fs::path& target,
                        const QuantizeOptions& options) {
  const Checkpoint checkpoint = Checkpoint::open(source, Checkpoint::Mode::kHeaderOnly);
  for (const auto& shard : checkpoint.shards()) {
    std::error_code ec;
    if (fs::equivalent(shard->path(), target, ec)) {
      fail("{}: is a file of the source itself", target.string());
    }
  }
  LoadOptions load;
  load.load_mtp =
      options.mtp && model::has_mtp_weights(DeepseekV3Config::from_file(source), checkpoint);
  const auto loaded = model::load_pretrained(source, model::Head::kCausalLm, load);
  DeepseekV3Config config = loaded->config;
  if (!load.load_mtp) config.num_nextn_predict_layers = 0;

  const bool from_split = checkpoint.contains("blk.0.attn_k_b.weight");
  const bool from_gguf = checkpoint.gguf_metadata() != nullptr;
  const bool split_kv_b = options.split_kv_b.value_or(from_gguf ? from_split : true);
  const std::vector<GgufTensor> tensors = model::gguf_tensors(*loaded, split_kv_b);
  const TypeChoice choose(options,
                          {.n_layers = config.num_hidden_layers + config.num_nextn_predict_layers,
                           .n_routed_experts = config.n_routed_experts,
                           .tied_embeddings = config.tie_word_embeddings,
                           .has_imatrix = !options.imatrix.empty()});

  QuantizeReport report;
  std::vector<TensorPlan> plan;
  for (const GgufTensor& t : tensors) {
    const DType type = choose(t);
    const auto stored = t.stored_type();
    if (stored && is_block_format(*stored) && *stored != type && !options.allow_requantize) {
      fail(
          "tensor '{}' is {} already: making {} of it loses more than making it of the original; "
          "allow it explicitly if the original is not at hand",
          t.name, dtype_name(*stored), dtype_name(type));
    }
    const int64_t n = t.rows() * t.cols();
    report.tensors.push_back({t.name, t.shape, source_types(t), type, dtype_bytes(type, n)});
    report.parameters += n;
    report.bytes += report.tensors.back().bytes;
    plan.push_back({t.name, type, t.shape});
  }

  GgufMetadata metadata = source_metadata(source, checkpoint, options, config.vocab_size);
  model::add_gguf_config(config, split_kv_b, metadata);
  metadata.set("general.file_type", choose.mixture().file_type());
  metadata.set("general.quantization_version", uint32_t{2});
  ImportanceMatrix imatrix;
  if (!options.imatrix.empty()) {
    imatrix = ImportanceMatrix::read(options.imatrix);
    require_some_match(imatrix, tensors, options.imatrix);
    metadata.set("quantize.imatrix.file", options.imatrix.filename().string());
    metadata.set("quantize.imatrix.entries_count", static_cast<uint32_t>(imatrix.tensors.size()));
  }
  if (options.dry_run) return report;

  GgufWriter writer(target, std::move(metadata), plan,
                    {.max_shard_bytes = options.max_shard_bytes});
  Progress progress(report.parameters);
  for (size_t i = 0; i < tensors.size(); ++i) {
    write_tensor(tensors[i], plan[i].dtype, imatrix, writer, progress);
  }
  writer.finish();
  report.files = writer.paths();
  return report;
}

}  // namespace dsv3::quantization
