#include "benchmark/random_model.h"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <random>

#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "formats/block_format.h"
#include "formats/float_formats.h"
#include "model/gguf_names.h"
#include "model/pretrained.h"
#include "quantization/mixture.h"

namespace dsv3::benchmark {
namespace {

using model::TensorRole;
using model::TensorSlot;

constexpr const char* kFp8 = "F8_E4M3";
constexpr int64_t kPoolElements = int64_t{1} << 22;  // a multiple of every block
constexpr float kDeviation = 0.02f;
constexpr float kBiasDeviation = 0.01f;  // little beside the spread of the scores
constexpr int64_t kAlignment = 64;

/// An anonymous mapping in huge pages where the system has them.
class Arena {
 public:
  explicit Arena(size_t bytes) : bytes_(bytes) {
    data_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data_ == MAP_FAILED) fail("random weights: no memory for {} bytes", bytes);
    madvise(data_, bytes_, MADV_HUGEPAGE);
  }
  ~Arena() { munmap(data_, bytes_); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  std::byte* take(size_t bytes) {
    std::byte* at = static_cast<std::byte*>(data_) + used_;
    used_ += rounded(bytes);
    return at;
  }
  static size_t rounded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

 private:
  size_t bytes_, used_ = 0;
  void* data_;
};

/// Normally distributed values in one type.
class Pool {
 public:
  Pool(std::span<const float> values, DType type) : block_(dtype_block(type)) {
    bytes_.resize(dtype_bytes(type, static_cast<int64_t>(values.size())));
    constexpr int64_t kPart = 1 << 14;
    thread_pool().parallel_for(static_cast<int64_t>(values.size()) / kPart, [&](int64_t i) {
      encode(values.subspan(i * kPart, kPart), type, bytes_.data() + dtype_bytes(type, i * kPart));
    });
  }

  /// Fills memory from the pool's block number `from` on, beginning anew at its end.
  void copy(size_t from, size_t bytes, std::byte* to) const {
    size_t at = from % (bytes_.size() / block_.bytes) * block_.bytes;
    while (bytes > 0) {
      const size_t n = std::min(bytes, bytes_.size() - at);
      std::memcpy(to, bytes_.data() + at, n);
      to += n;
      bytes -= n;
      at = 0;
    }
  }

 private:
  static void encode(std::span<const float> values, DType type, std::byte* out) {
    const auto n = static_cast<int64_t>(values.size());
    const auto put = [&](auto convert) {
      for (const float x : values) {
        const auto y = convert(x);
        std::memcpy(out, &y, sizeof y);
        out += sizeof y;
      }
    };
    if (is_block_format(type))
      return formats::block_format(type).encode(values.data(), n, nullptr, out);
    if (type == DType::kF16) return put(formats::float_to_f16);
    if (type == DType::kBF16) return put(formats::float_to_bf16);
    if (type == DType::kF8E4M3) {  // scaled as a checkpoint does, largest value to 448 or so
      return put([](float x) { return formats::float_to_e4m3(x / kFp8Scale); });
    }
    put([](float x) { return x; });
  }

  DTypeBlock block_;
  std::vector<std::byte> bytes_;

 public:
  static constexpr float kFp8Scale = kDeviation * 6 / formats::kE4M3Max;
};

/// Which type each tensor has.
class TypeChoice {
 public:
  TypeChoice(const DeepseekV3Config& config, const std::string& type) : fp8_(type == kFp8) {
    if (fp8_) return;
    mixture_ = quantization::Mixture::named(type);
    model_ = {.n_layers = config.num_hidden_layers,
              .n_routed_experts = config.n_routed_experts,
              .tied_embeddings = config.tie_word_embeddings};
  }

  DType operator()(const TensorSlot& slot) const {
    if (slot.linear == nullptr || slot.tensor != &slot.linear->weight) return DType::kF32;
    if (fp8_) return slot.role == TensorRole::kLinear ? DType::kF8E4M3 : DType::kBF16;
    if (slot.role == TensorRole::kRouter) return DType::kF32;
    const auto gguf = model::gguf_name(slot.name);
    const std::string_view name = gguf->name;
    const int64_t layer = name.starts_with("blk.") ? std::stol(gguf->name.substr(4)) : -1;
    return quantization::fitting_type(mixture_->type_of(model_, name, layer), slot.shape.back());
  }

 private:
  bool fp8_;
  std::optional<quantization::Mixture> mixture_;
  quantization::MixtureModel model_;
};

int64_t numel(const Shape& shape) {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

std::vector<float> normal_values(int64_t n, float deviation) {
  std::vector<float> values(static_cast<size_t>(n));
  constexpr int64_t kPart = 1 << 14;
  thread_pool().parallel_for((n + kPart - 1) / kPart, [&](int64_t i) {
    std::minstd_rand random(static_cast<uint32_t>(i) + 1);
    std::normal_distribution<float> normal(0, deviation);
    for (int64_t k = i * kPart; k < std::min(n, (i + 1) * kPart); ++k) values[k] = normal(random);
  });
  return values;
}

void fill_small(const TensorSlot& slot) {
  Tensor& t = *slot.tensor = Tensor(DType::kF32, slot.shape);
  const auto values = t.as_mutable<float>();
  if (slot.role == TensorRole::kNorm) std::fill(values.begin(), values.end(), 1.0f);
  if (slot.role != TensorRole::kCorrectionBias) return;
  const std::vector<float> bias = normal_values(t.numel(), kBiasDeviation);
  std::copy(bias.begin(), bias.end(), values.begin());
}

/// The class that can be made of a LoadedModel.
struct MadeModel : DeepseekV3ForCausalLM {
  explicit MadeModel(std::shared_ptr<const model::LoadedModel> loaded)
      : DeepseekV3ForCausalLM(std::move(loaded)) {}
};

}  // namespace

std::vector<std::string> random_model_types() {
  std::vector<std::string> names;
  for (const std::string_view name : quantization::Mixture::names()) names.emplace_back(name);
  names.emplace_back(kFp8);
  return names;
}

DeepseekV3ForCausalLM random_model(DeepseekV3Config config, const std::string& type,
                                   const LoadOptions& options) {
  if (options.dtype != WeightDType::kAsStored) {
    fail("random weights come in the type that is asked for and are not converted");
  }
  config.quantization_config.reset();
  if (type == kFp8) config.quantization_config.emplace();
  const TypeChoice type_of(config, type);

  auto loaded = std::make_shared<model::LoadedModel>();
  loaded->head = model::Head::kCausalLm;
  const auto slots = enumerate_tensors(config, loaded->head, false, loaded->weights);
  size_t bytes = 0;
  for (const TensorSlot& slot : slots) {
    bytes += Arena::rounded(dtype_bytes(type_of(slot), numel(slot.shape)));
  }
  if (static_cast<int64_t>(bytes) > usable_memory_bytes()) {
    fail(
        "random weights of this configuration in {} take {:.1f} GB, this machine has {:.1f} GB of "
        "memory",
        type, static_cast<double>(bytes) / 1e9, static_cast<double>(usable_memory_bytes()) / 1e9);
  }

  const auto arena = std::make_shared<Arena>(bytes);
  const std::vector<float> values = normal_values(kPoolElements, kDeviation);
  std::map<DType, Pool> pools;
  struct Copy {
    const Pool* pool;
    size_t from, bytes;
    std::byte* to;
  };
  std::vector<Copy> copies;
  size_t from = 0;
  for (const TensorSlot& slot : slots) {
    const DType dtype = type_of(slot);
    if (slot.linear == nullptr || slot.tensor != &slot.linear->weight) {
      fill_small(slot);
      continue;
    }
    const size_t tensor_bytes = dtype_bytes(dtype, numel(slot.shape));
    std::byte* data = arena->take(tensor_bytes);
    *slot.tensor = Tensor::wrap(dtype, slot.shape, data, arena);
    const Pool& pool = pools.try_emplace(dtype, values, dtype).first->second;
    copies.push_back({&pool, from, tensor_bytes, data});
    from += 9973;  // so that no two experts begin the same
    if (dtype == DType::kF8E4M3) {
      ops::LinearWeight& w = *slot.linear;
      const auto blocks = [](int64_t n, int64_t block) { return (n + block - 1) / block; };
      w.scale_inv = Tensor(
          DType::kF32, {blocks(slot.shape[0], w.block_rows), blocks(slot.shape[1], w.block_cols)});
      std::ranges::fill(w.scale_inv.as_mutable<float>(), Pool::kFp8Scale);
    }
  }
  thread_pool().parallel_for(static_cast<int64_t>(copies.size()), [&](int64_t i) {
    copies[i].pool->copy(copies[i].from, copies[i].bytes, copies[i].to);
  });
  if (config.tie_word_embeddings) loaded->weights.lm_head = loaded->weights.embed_tokens;
  loaded->config = std::move(config);
  loaded->options = model::compute_options(loaded->config, options);
  return MadeModel(std::move(loaded));
}

}  // namespace dsv3::benchmark
