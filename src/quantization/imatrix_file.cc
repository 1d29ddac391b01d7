// The files of llama.cpp's llama-imatrix.
#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/gguf.h"
#include "checkpoint/gguf_writer.h"
#include "quantization/imatrix.h"

namespace dsv3::quantization {
namespace {

namespace fs = std::filesystem;

// GGUF: general.type is "imatrix"; of a tensor NAME there are NAME.in_sum2, the sums [in] or
// [matrices, in], and NAME.counts, [1] or [matrices, 1]. Newer files have NAME.in_sum and
// NAME.stats beside them, which quantisation does not use.
constexpr const char* kType = "imatrix";
constexpr const char* kTypeKey = "general.type";
constexpr const char* kDatasetsKey = "imatrix.datasets";
constexpr const char* kChunkCountKey = "imatrix.chunk_count";
constexpr const char* kChunkSizeKey = "imatrix.chunk_size";
constexpr std::string_view kSums = ".in_sum2";
constexpr std::string_view kCounts = ".counts";

void require_sum(double x, const std::string& where, std::string_view name, size_t i) {
  if (x >= 0 && x <= double{std::numeric_limits<float>::max()}) return;
  fail("{}: '{}': sum of squares {} is {}, expected a finite number of at least 0", where, name, i,
       x);
}

std::span<const float> floats_of(const GgufFile& file, const std::string& name, Tensor& keeper) {
  keeper = file.tensor(name);
  if (keeper.dtype() != DType::kF32) {
    fail("{}: tensor '{}' is {}, expected F32", file.path().string(), name,
         dtype_name(keeper.dtype()));
  }
  return keeper.as<float>();
}

InputSquares read_tensor(const GgufFile& file, const std::string& name) {
  const std::string where = file.path().string();
  const std::string sums_name = name + std::string(kSums),
                    counts_name = name + std::string(kCounts);
  if (file.find(counts_name) == nullptr) {
    fail("{}: '{}' has sums of squares but there is no '{}'", where, name, counts_name);
  }
  Tensor sums, counts;
  InputSquares t;
  for (const float x : floats_of(file, sums_name, sums)) {
    require_sum(x, where, name, t.sums.size());
    t.sums.push_back(x);
  }
  for (const float n : floats_of(file, counts_name, counts)) {
    if (!(n >= 0 && n < 0x1p62f && n == std::floor(n))) {
      fail("{}: '{}': count {} is {}, expected a number of tokens", where, name, t.counts.size(),
           n);
    }
    t.counts.push_back(static_cast<int64_t>(n));
  }
  if (t.counts.empty() || t.sums.empty() || t.sums.size() % t.counts.size() != 0) {
    fail("{}: '{}' has {} sums of squares for {} counts, expected a multiple", where, name,
         t.sums.size(), t.counts.size());
  }
  return t;
}

ImportanceMatrix read_gguf(const fs::path& path) {
  const auto file = GgufFile::open(path);
  const GgufMetadata& metadata = file->metadata();
  const std::string* type = metadata.find_string(kTypeKey);
  if (type == nullptr || *type != kType) {
    fail("{}: {} is {}, expected \"{}\": this GGUF file is no importance matrix", path.string(),
         kTypeKey, type == nullptr ? "missing" : "\"" + *type + "\"", kType);
  }
  ImportanceMatrix matrix;
  if (const GgufStrings* datasets = metadata.find_strings(kDatasetsKey)) {
    for (size_t i = 0; i < datasets->size(); ++i) matrix.datasets.emplace_back((*datasets)[i]);
  }
  const auto number = [&](const char* key) {
    const int64_t n = metadata.find_integer(key).value_or(0);
    if (n < 0 || n > std::numeric_limits<int32_t>::max()) {
      fail("{}: {} is {}, expected 0 to {}", path.string(), key, n,
           std::numeric_limits<int32_t>::max());
    }
    return n;
  };
  matrix.chunk_count = number(kChunkCountKey);
  matrix.chunk_size = number(kChunkSizeKey);
  for (const TensorEntry& entry : file->tensors()) {
    if (!entry.name.ends_with(kSums)) continue;
    const std::string name = entry.name.substr(0, entry.name.size() - kSums.size());
    matrix.tensors[name] = read_tensor(*file, name);
  }
  return matrix;
}

// The older files: int32 number of entries; each an int32 length and the name, int32 calls
// (chunks), int32 number of values and these, float32: mean squares times calls, for all matrices.
// Then, in files that are not the oldest, int32 chunks, and int32 length and name of the text.
class LegacyReader {
 public:
  explicit LegacyReader(const fs::path& path)
      : file_(MappedFile::open(path)), where_(path.string()) {}

  ImportanceMatrix read() {
    const int64_t entries = integer("the number of tensors");
    // The shortest entry has a name and a value of one byte and one number.
    if (entries < 1 || entries > left() / 17) {
      fail(
          "{}: {} tensors in {} bytes: neither a GGUF file nor an importance matrix in "
          "llama.cpp's older format",
          where_, entries, file_->size());
    }
    ImportanceMatrix matrix;
    matrix.chunk_size = ImportanceMatrix::kLegacyChunk;
    for (int64_t e = 0; e < entries; ++e) read_entry(matrix, e, entries);
    if (left() == 0) return matrix;
    matrix.chunk_count = integer("the number of chunks");
    if (matrix.chunk_count < 0) {
      fail("{}: {} chunks, expected at least 0", where_, matrix.chunk_count);
    }
    matrix.datasets.push_back(text("the name of the text"));
    if (left() != 0) fail("{}: {} bytes behind the end", where_, left());
    return matrix;
  }

 private:
  int64_t left() const { return static_cast<int64_t>(file_->size() - at_); }

  int64_t integer(const std::string& what) {
    if (left() < 4) fail("{}: ends at byte {} within {}", where_, file_->size(), what);
    uint32_t bits = 0;
    for (int i = 0; i < 4; ++i) {
      bits |= std::to_integer<uint32_t>(file_->data()[at_++]) << (8 * i);
    }
    return static_cast<int32_t>(bits);
  }

  std::string text(const std::string& what) {
    const int64_t length = integer("the length of " + what);
    if (length < 0 || length > left()) {
      fail("{}: {} has {} bytes, expected 0 to the {} that are left", where_, what, length, left());
    }
    const auto* begin = reinterpret_cast<const char*>(file_->data() + at_);
    at_ += static_cast<size_t>(length);
    return {begin, static_cast<size_t>(length)};
  }

  void read_entry(ImportanceMatrix& matrix, int64_t number, int64_t entries) {
    const std::string name = text(fmt::format("the name of tensor {} of {}", number + 1, entries));
    const int64_t calls = integer("'" + name + "'"), values = integer("'" + name + "'");
    if (calls < 1) fail("{}: '{}': {} chunks, expected at least 1", where_, name, calls);
    if (values < 1 || values > left() / 4) {
      fail("{}: '{}': {} values, expected 1 to the {} that are left", where_, name, values,
           left() / 4);
    }
    const auto [place, is_new] = matrix.tensors.try_emplace(name);
    if (!is_new) fail("{}: '{}' occurs twice", where_, name);
    InputSquares& t = place->second;
    t.counts = {calls * ImportanceMatrix::kLegacyChunk};
    t.sums.reserve(static_cast<size_t>(values));
    for (int64_t i = 0; i < values; ++i) {
      const auto bits = static_cast<uint32_t>(integer("'" + name + "'"));
      const double sum =
          double{std::bit_cast<float>(bits)} * double{ImportanceMatrix::kLegacyChunk};
      require_sum(sum, where_, name, t.sums.size());
      t.sums.push_back(sum);
    }
  }

  std::shared_ptr<const MappedFile> file_;
  std::string where_;
  size_t at_ = 0;
};

}  // namespace

ImportanceMatrix ImportanceMatrix::read(const fs::path& path) {
  ImportanceMatrix matrix = is_gguf_file(path) ? read_gguf(path) : LegacyReader(path).read();
  if (matrix.tensors.empty()) {
    fail("{}: an importance matrix of no tensors: expected NAME{} and NAME{}", path.string(), kSums,
         kCounts);
  }
  return matrix;
}

void ImportanceMatrix::write(const fs::path& path) const {
  GgufMetadata metadata(path.string());
  GgufStrings names;
  for (const std::string& dataset : datasets) names.push_back(dataset);
  metadata.set(kTypeKey, std::string(kType));
  metadata.set(kDatasetsKey, names);
  metadata.set(kChunkCountKey, static_cast<uint32_t>(chunk_count));
  metadata.set(kChunkSizeKey, static_cast<uint32_t>(chunk_size));

  const auto sums_shape = [](const InputSquares& t) {
    const auto matrices = static_cast<int64_t>(t.counts.size());
    const auto values = static_cast<int64_t>(t.sums.size());
    return matrices == 1 ? Shape{values} : Shape{matrices, values / matrices};
  };
  const auto counts_shape = [](const InputSquares& t) {
    const auto matrices = static_cast<int64_t>(t.counts.size());
    return matrices == 1 ? Shape{1} : Shape{matrices, 1};
  };
  std::vector<TensorPlan> plan;
  for (const auto& [name, t] : tensors) {
    plan.push_back({name + std::string(kSums), DType::kF32, sums_shape(t)});
    plan.push_back({name + std::string(kCounts), DType::kF32, counts_shape(t)});
  }
  GgufWriter writer(path, std::move(metadata), plan);
  for (const auto& [name, t] : tensors) {
    Tensor sums = Tensor::empty(DType::kF32, sums_shape(t));
    Tensor counts = Tensor::empty(DType::kF32, counts_shape(t));
    for (size_t i = 0; i < t.sums.size(); ++i) {
      require_sum(t.sums[i], path.string(), name, i);
      sums.as_mutable<float>()[i] = static_cast<float>(t.sums[i]);
    }
    for (size_t i = 0; i < t.counts.size(); ++i) {
      counts.as_mutable<float>()[i] = static_cast<float>(t.counts[i]);
    }
    writer.write(name + std::string(kSums), sums);
    writer.write(name + std::string(kCounts), counts);
  }
  writer.finish();
}

}  // namespace dsv3::quantization
