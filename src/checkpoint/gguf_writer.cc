#include "checkpoint/gguf_writer.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"
#include "base/file.h"

namespace dsv3 {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kVersion = 3;
constexpr uint32_t kArrayType = 9;
/// ggml's own limits (GGML_MAX_NAME with its final zero, GGML_MAX_DIMS): it refuses what exceeds
/// them.
constexpr size_t kMaxName = 63;
constexpr size_t kMaxDims = 4;

template <typename T>
void put(std::string& out, T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}
void put_string(std::string& out, std::string_view text) {
  put<uint64_t>(out, text.size());
  out += text;
}

/// GGUF's number of a value's type; for a list, of its elements.
uint32_t value_type(const GgufValue& value) {
  constexpr size_t kScalars = std::variant_size_v<GgufValue> / 2;
  const auto index = static_cast<uint32_t>(value.index() % kScalars);
  return index < kArrayType ? index : index + 1;
}

void put_value(std::string& out, const GgufValue& value) {
  const uint32_t type = value_type(value);
  const auto put_list_head = [&](size_t count) {
    put(out, kArrayType);
    put(out, type);
    put<uint64_t>(out, count);
  };
  std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string>) {
          put(out, type);
          put_string(out, v);
        } else if constexpr (std::is_arithmetic_v<T>) {
          put(out, type);
          put(out, v);
        } else {
          put_list_head(v.size());
          for (size_t i = 0; i < v.size(); ++i) {
            if constexpr (std::is_same_v<T, GgufStrings>) {
              put_string(out, v[i]);
            } else {
              put<typename T::value_type>(out, v[i]);
            }
          }
        }
      },
      value);
}

uint64_t align_up(uint64_t at, uint64_t alignment) {
  return (at + alignment - 1) / alignment * alignment;
}

/// All before the data, padded to their beginning; and says where each tensor will be in the file.
std::string make_head(const GgufMetadata& metadata, std::vector<TensorEntry>& tensors,
                      uint64_t alignment) {
  std::string head(kMagic);
  put(head, kVersion);
  put<uint64_t>(head, tensors.size());
  put<uint64_t>(head, metadata.entries().size());
  for (const auto& [key, value] : metadata.entries()) {
    put_string(head, key);
    put_value(head, value);
  }
  uint64_t at = 0;
  for (TensorEntry& t : tensors) {
    put_string(head, t.name);
    put(head, static_cast<uint32_t>(t.shape.size()));
    for (auto dim = t.shape.rbegin(); dim != t.shape.rend(); ++dim) put<int64_t>(head, *dim);
    put(head, gguf_type_of(t.dtype));
    put(head, at);
    t.offset = at;
    at = align_up(at + t.bytes, alignment);
  }
  head.resize(align_up(head.size(), alignment));
  for (TensorEntry& t : tensors) t.offset += head.size();
  return head;
}

uint64_t alignment_of(const GgufMetadata& metadata) {
  const int64_t alignment =
      metadata.find_integer(kGgufAlignmentKey).value_or(kGgufDefaultAlignment);
  if (alignment <= 0 || !std::has_single_bit(static_cast<uint64_t>(alignment))) {
    fail("{}: {} is not a power of two", kGgufAlignmentKey, alignment);
  }
  return static_cast<uint64_t>(alignment);
}

TensorEntry entry_of(const TensorPlan& plan) {
  gguf_type_of(plan.dtype);
  if (plan.name.empty() || plan.name.size() > kMaxName) {
    fail("a name of {} bytes, expected 1 to {}", plan.name.size(), kMaxName);
  }
  if (plan.shape.size() > kMaxDims) {
    fail("shape {}, expected at most {} dimensions", shape_string(plan.shape), kMaxDims);
  }
  int64_t elements = 1;
  for (const int64_t dim : plan.shape) {
    if (dim < 0) fail("negative shape {}", shape_string(plan.shape));
    elements *= dim;
  }
  const int64_t run = dtype_block(plan.dtype).elements;
  if ((plan.shape.empty() ? 1 : plan.shape.back()) % run != 0) {
    fail("rows of {} are no whole number of {} blocks of {}", shape_string(plan.shape),
         dtype_name(plan.dtype), run);
  }
  return {plan.name, plan.dtype, plan.shape, 0, dtype_bytes(plan.dtype, elements)};
}

}  // namespace

struct GgufWriter::Shard {
  fs::path path;
  std::unique_ptr<AtomicFile> file;
};

GgufWriter::GgufWriter(const fs::path& path, GgufMetadata metadata,
                       const std::vector<TensorPlan>& plan, GgufWriterOptions options)
    : where_(path.string()) {
  const uint64_t alignment = with_context(where_, [&] { return alignment_of(metadata); });
  std::vector<std::vector<TensorEntry>> groups(1);
  uint64_t filled = 0;
  for (const TensorPlan& p : plan) {
    TensorEntry entry =
        with_context(fmt::format("{}: tensor '{}'", where_, p.name), [&] { return entry_of(p); });
    const uint64_t bytes = align_up(entry.bytes, alignment);
    if (options.max_shard_bytes > 0 && !groups.back().empty() &&
        filled + bytes > options.max_shard_bytes) {
      groups.emplace_back();
      filled = 0;
    }
    filled += bytes;
    groups.back().push_back(std::move(entry));
  }
  const size_t count = groups.size();
  if (count > UINT16_MAX) {
    fail("{}: {} files of at most {} bytes are too many, expected up to {}", where_, count,
         options.max_shard_bytes, UINT16_MAX);
  }
  fs::path prefix = path;
  if (prefix.extension() == ".gguf") prefix.replace_extension();
  for (size_t i = 0; i < count; ++i) {
    // llama.cpp's own types of these keys.
    GgufMetadata own = i == 0 ? std::move(metadata) : GgufMetadata();
    if (count > 1) {
      own.set(kGgufSplitNumberKey, static_cast<uint16_t>(i));
      own.set(kGgufSplitCountKey, static_cast<uint16_t>(count));
      own.set(kGgufSplitTensorsKey, static_cast<int32_t>(plan.size()));
      if (i > 0 && alignment != kGgufDefaultAlignment) {
        own.set(kGgufAlignmentKey, static_cast<uint32_t>(alignment));
      }
    }
    Shard shard;
    shard.path = count == 1
                     ? path
                     : prefix.parent_path() /
                           GgufSplitName{prefix.filename().string(), i + 1, count}.file_name();
    const std::string head = make_head(own, groups[i], alignment);
    shard.file = std::make_unique<AtomicFile>(shard.path);
    // The magic comes last: without it, what a killed run leaves is no GGUF under any name.
    const std::span bytes = std::as_bytes(std::span<const char>(head));
    shard.file->write_at(kMagic.size(), bytes.subspan(kMagic.size()));
    // What lies between the tensors and after the last, which the reader may want, reads as zero.
    const uint64_t end = groups[i].empty() ? 0 : groups[i].back().offset + groups[i].back().bytes;
    if (const uint64_t padded = align_up(end, alignment); padded > end) {
      const std::vector<std::byte> zeros(padded - end);
      shard.file->write_at(end, zeros);
    }
    for (TensorEntry& entry : groups[i]) {
      std::string key = entry.name;
      if (!places_.emplace(std::move(key), Place{i, entry}).second) {
        fail("{}: tensor '{}' is to be written twice", where_, entry.name);
      }
    }
    shards_.push_back(std::move(shard));
  }
}

GgufWriter::~GgufWriter() = default;

GgufWriter::Place& GgufWriter::place(std::string_view name) {
  const auto at = places_.find(std::string(name));
  if (at == places_.end()) fail("{}: tensor '{}' was not planned", where_, name);
  return at->second;
}

void GgufWriter::write(std::string_view name, const Tensor& tensor) {
  const TensorEntry& entry = place(name).entry;
  if (!tensor.defined() || tensor.dtype() != entry.dtype || tensor.shape() != entry.shape) {
    fail("{}: tensor '{}': expected {} {}, found {} {}", where_, name, shape_string(entry.shape),
         dtype_name(entry.dtype), shape_string(tensor.shape()),
         tensor.defined() ? dtype_name(tensor.dtype()) : "nothing");
  }
  write_part(name, 0, {static_cast<const std::byte*>(tensor.raw()), tensor.bytes()});
}

void GgufWriter::write_part(std::string_view name, uint64_t first_byte,
                            std::span<const std::byte> bytes) {
  Place& p = place(name);
  {
    const std::lock_guard lock(mutex_);
    if (first_byte > p.entry.bytes || bytes.size() > p.entry.bytes - first_byte) {
      fail("{}: tensor '{}': bytes {} to {} are not in its {}", where_, name, first_byte,
           first_byte + bytes.size(), p.entry.bytes);
    }
    if (bytes.size() > p.entry.bytes - p.written) {
      fail("{}: tensor '{}' is written twice", where_, name);
    }
    p.written += bytes.size();
  }
  shards_[p.shard].file->write_at(p.entry.offset + first_byte, bytes);
}

void GgufWriter::finish() {
  std::vector<std::string> missing;
  for (const auto& [name, p] : places_) {
    if (p.written != p.entry.bytes) missing.push_back(name);
  }
  if (!missing.empty()) {
    std::sort(missing.begin(), missing.end());
    const size_t count = missing.size();
    missing.resize(std::min<size_t>(count, 5));
    fail("{}: {} planned tensors were not written: {}{}", where_, count, fmt::join(missing, ", "),
         count > 5 ? ", ..." : "");
  }
  for (Shard& shard : shards_) {
    shard.file->write_at(0, std::as_bytes(std::span<const char>(kMagic)));
    shard.file->sync();
  }
  // Of an earlier model of these names nothing has been touched so far. It stops being complete
  // with the first rename, so its first file, without which none is opened, goes before.
  std::error_code ec;
  if (shards_.size() > 1) fs::remove(shards_[0].path, ec);
  for (auto shard = shards_.rbegin(); shard != shards_.rend(); ++shard) {
    shard->file->commit();
  }
}

std::vector<fs::path> GgufWriter::paths() const {
  std::vector<fs::path> all;
  for (const Shard& shard : shards_) all.push_back(shard.path);
  return all;
}

void write_gguf(const fs::path& path, GgufMetadata metadata, std::span<const NamedTensor> tensors) {
  std::vector<TensorPlan> plan;
  plan.reserve(tensors.size());
  for (const NamedTensor& t : tensors) {
    if (!t.tensor.defined()) fail("{}: tensor '{}' is absent", path.string(), t.name);
    plan.push_back({t.name, t.tensor.dtype(), t.tensor.shape()});
  }
  GgufWriter writer(path, std::move(metadata), plan);
  for (const NamedTensor& t : tensors) writer.write(t.name, t.tensor);
  writer.finish();
}

}  // namespace dsv3
