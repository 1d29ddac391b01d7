#include <algorithm>
#include <set>

#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/names.h"

namespace dsv3 {

namespace fs = std::filesystem;

std::string shard_name(size_t number, size_t count) {
  return fmt::format("model-{:05}-of-{:05}.safetensors", number, count);
}

bool is_shard_name(std::string_view name) {
  const auto skip = [&name](std::string_view text) {
    if (!name.starts_with(text)) return false;
    name.remove_prefix(text.size());
    return true;
  };
  const auto skip_number = [&name] {
    const size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
    name.remove_prefix(digits);
    return digits >= 5;
  };
  return skip("model-") && skip_number() && skip("-of-") && skip_number() && name == ".safetensors";
}

struct CheckpointWriter::Shard {
  fs::path path;
  std::unique_ptr<AtomicFile> file;
};

CheckpointWriter::CheckpointWriter(fs::path folder, const std::vector<TensorPlan>& plan,
                                   CheckpointWriterOptions options)
    : folder_(std::move(folder)) {
  const std::string where = folder_.string();
  if (plan.empty()) fail("{}: a checkpoint without tensors", where);
  std::error_code ec;
  fs::create_directories(folder_, ec);
  if (ec) fail("{}: cannot make the folder: {}", where, ec.message());

  std::vector<std::vector<TensorEntry>> groups(1);
  uint64_t filled = 0;
  for (const TensorPlan& p : plan) {
    uint64_t bytes = dtype_size(p.dtype);
    for (const int64_t dim : p.shape) bytes *= static_cast<uint64_t>(dim);
    if (!groups.back().empty() && filled + bytes > options.max_shard_bytes) {
      groups.emplace_back();
      filled = 0;
    }
    groups.back().push_back({p.name, p.dtype, p.shape});
    filled += bytes;
    total_bytes_ += bytes;
  }
  for (size_t i = 0; i < groups.size(); ++i) {
    const std::string name =
        groups.size() == 1 ? std::string(kSingleFileName) : shard_name(i + 1, groups.size());
    SafetensorsLayout layout = with_context(
        where, [&] { return lay_out_safetensors(std::move(groups[i]), options.metadata); });
    Shard shard{folder_ / name, nullptr};
    shard.file = std::make_unique<AtomicFile>(shard.path);
    shard.file->write(layout.head);
    for (TensorEntry& entry : layout.tensors) {
      std::string key = entry.name;
      if (!places_.emplace(std::move(key), Place{i, entry}).second) {
        fail("{}: tensor '{}' is to be written twice", where, entry.name);
      }
    }
    shards_.push_back(std::move(shard));
  }
}

CheckpointWriter::~CheckpointWriter() = default;

void CheckpointWriter::write(std::string_view name, const Tensor& tensor) {
  const auto at = places_.find(std::string(name));
  if (at == places_.end()) fail("{}: tensor '{}' was not planned", folder_.string(), name);
  Place& place = at->second;
  if (!tensor.defined() || tensor.dtype() != place.entry.dtype ||
      tensor.shape() != place.entry.shape) {
    fail("{}: tensor '{}': expected {} {}, found {} {}", folder_.string(), name,
         shape_string(place.entry.shape), dtype_name(place.entry.dtype),
         shape_string(tensor.shape()), tensor.defined() ? dtype_name(tensor.dtype()) : "nothing");
  }
  if (place.written) fail("{}: tensor '{}' is written twice", folder_.string(), name);
  shards_[place.shard].file->write_at(
      place.entry.offset, {static_cast<const std::byte*>(tensor.raw()), tensor.bytes()});
  place.written = true;
}

void CheckpointWriter::finish() {
  std::vector<std::string> missing;
  for (const auto& [name, place] : places_) {
    if (!place.written) missing.push_back(name);
  }
  if (!missing.empty()) {
    std::sort(missing.begin(), missing.end());
    const size_t count = missing.size();
    missing.resize(std::min<size_t>(count, 5));
    fail("{}: {} planned tensors were not written: {}{}", folder_.string(), count,
         fmt::join(missing, ", "), count > 5 ? ", ..." : "");
  }

  const fs::path index_path = folder_ / kIndexName;
  const bool is_sharded = shards_.size() > 1;
  std::unique_ptr<AtomicFile> index;
  if (is_sharded) {
    nlohmann::json weight_map = nlohmann::json::object();
    for (const auto& [name, place] : places_) {
      weight_map[name] = shards_[place.shard].path.filename().string();
    }
    const nlohmann::json document = {{"metadata", {{"total_size", total_bytes_}}},
                                     {"weight_map", std::move(weight_map)}};
    index = std::make_unique<AtomicFile>(index_path);
    index->write(document.dump(2) + "\n");
    index->sync();
  }
  for (Shard& shard : shards_) shard.file->sync();

  // Nothing of an earlier save has been touched so far. If its shards have the same names, it stops
  // being complete with the first rename, so its index goes first.
  std::error_code ec;
  const bool overwrites = std::any_of(shards_.begin(), shards_.end(),
                                      [&](const Shard& s) { return fs::exists(s.path, ec); });
  if (is_sharded && overwrites) fs::remove(index_path, ec);
  for (Shard& shard : shards_) shard.file->commit();
  if (index) index->commit();

  // The new save is complete; what is left of an older one would only confuse.
  std::set<std::string> keep = {is_sharded ? kIndexName : kSingleFileName};
  for (const Shard& shard : shards_) keep.insert(shard.path.filename().string());
  if (!keep.contains(kIndexName)) fs::remove(index_path, ec);
  if (!keep.contains(kSingleFileName)) fs::remove(folder_ / kSingleFileName, ec);
  std::vector<fs::path> stale;
  for (const auto& entry : fs::directory_iterator(folder_, ec)) {
    const std::string name = entry.path().filename().string();
    if (is_shard_name(name) && !keep.contains(name)) stale.push_back(entry.path());
  }
  for (const fs::path& path : stale) fs::remove(path, ec);
  shards_.clear();
  places_.clear();
}

void save_checkpoint(const fs::path& folder, std::span<const NamedTensor> tensors,
                     CheckpointWriterOptions options) {
  std::vector<TensorPlan> plan;
  plan.reserve(tensors.size());
  for (const NamedTensor& t : tensors) {
    if (!t.tensor.defined()) fail("{}: tensor '{}' is absent", folder.string(), t.name);
    plan.push_back({t.name, t.tensor.dtype(), t.tensor.shape()});
  }
  CheckpointWriter writer(folder, plan, std::move(options));
  for (const NamedTensor& t : tensors) writer.write(t.name, t.tensor);
  writer.finish();
}

}  // namespace dsv3
