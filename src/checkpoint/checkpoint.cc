#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <set>

#include "base/json.h"
#include "checkpoint/names.h"

namespace dsv3 {
namespace {

namespace fs = std::filesystem;

/// Reads `weight_map` of an index, and skips the rest, without making a document of it: the index
/// of the 671B model has 92,000 entries, of larger ones twice as many.
class IndexHandler final : public nlohmann::json_sax<nlohmann::json> {
 public:
  IndexHandler(const std::string& where, std::vector<std::pair<std::string, std::string>>& out)
      : where_(where), out_(out) {}

  bool null() override { return other("null"); }
  bool boolean(bool) override { return other("a boolean"); }
  bool number_integer(number_integer_t) override { return other("a number"); }
  bool number_unsigned(number_unsigned_t) override { return other("a number"); }
  bool number_float(number_float_t, const string_t&) override { return other("a number"); }
  bool binary(binary_t&) override { return other("bytes"); }

  bool string(string_t& value) override {
    if (!in_map()) return other("a string");
    if (value.empty() || value.find('/') != value.npos || value == "." || value == "..") {
      fail("{}: tensor '{}' is in shard '{}', expected a file name", where_, key_, value);
    }
    out_.emplace_back(std::move(key_), std::move(value));
    return true;
  }
  bool key(string_t& value) override {
    if (depth_ == 1) {
      at_map_ = value == "weight_map";
      if (at_map_ && found_) fail("{}: weight_map occurs twice", where_);
      found_ |= at_map_;
    }
    key_ = std::move(value);
    return true;
  }
  bool start_object(size_t) override {
    if (in_map()) other("an object");
    ++depth_;
    return true;
  }
  bool end_object() override {
    --depth_;
    return true;
  }
  bool start_array(size_t) override {
    if (depth_ < 2) other("a list");
    if (in_map()) other("a list");
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& e) override {
    fail("{}: not valid JSON at byte {}: {}", where_, position, json_error_reason(e));
  }

  bool found() const { return found_; }

 private:
  bool in_map() const { return depth_ == 2 && at_map_; }
  bool other(const char* found) const {
    if (depth_ == 0) fail("{}: expected a JSON object, found {}", where_, found);
    if (depth_ == 1 && at_map_) fail("{}: weight_map is {}, expected an object", where_, found);
    if (in_map()) fail("{}: tensor '{}' is in {}, expected a file name", where_, key_, found);
    return true;
  }

  const std::string& where_;
  std::vector<std::pair<std::string, std::string>>& out_;
  std::string key_;
  int depth_ = 0;
  bool at_map_ = false;
  bool found_ = false;
};

/// Pairs of tensor name and file name, sorted by tensor name.
std::vector<std::pair<std::string, std::string>> read_index(const fs::path& path) {
  const std::string where = path.string();
  const std::string text = read_file(path);
  std::vector<std::pair<std::string, std::string>> map;
  IndexHandler handler(where, map);
  try {
    nlohmann::json::sax_parse(text.begin(), text.end(), &handler);
  } catch (const nlohmann::json::exception& e) {
    fail("{}: not valid JSON: {}", where, json_error_reason(e));
  }
  if (!handler.found()) fail("{}: no weight_map", where);
  if (map.empty()) fail("{}: weight_map is empty", where);
  std::sort(map.begin(), map.end());
  const auto twice = std::adjacent_find(
      map.begin(), map.end(), [](const auto& a, const auto& b) { return a.first == b.first; });
  if (twice != map.end()) fail("{}: tensor '{}' occurs twice", where, twice->first);
  return map;
}

/// What a folder without a checkpoint of ours holds instead, for the message.
[[noreturn]] void fail_without_weights(const fs::path& folder) {
  std::vector<std::string> shards, others, gguf, foreign;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const std::string extension = entry.path().extension().string();
    if (is_shard_name(name)) {
      shards.push_back(name);
    } else if (extension == ".safetensors") {
      others.push_back(name);
    } else if (extension == ".gguf") {
      gguf.push_back(name);
    } else if (extension == ".bin" || extension == ".pt" || extension == ".pth" ||
               extension == ".ckpt" || extension == ".h5" || extension == ".msgpack" ||
               extension == ".npz") {
      foreign.push_back(name);
    }
  }
  const std::string expected =
      fmt::format("{}: expected {} or {}", folder.string(), kSingleFileName, kIndexName);
  const auto list = [](std::vector<std::string>& names) {
    std::sort(names.begin(), names.end());
    const size_t shown = std::min<size_t>(names.size(), 5);
    std::string text = fmt::format("{}", fmt::join(names.begin(), names.begin() + shown, ", "));
    if (shown < names.size()) text += fmt::format(" and {} more", names.size() - shown);
    return text;
  };
  if (!shards.empty()) {
    fail("{}, found shards without an index ({}): the download or save is not complete", expected,
         list(shards));
  }
  if (!others.empty()) {
    fail("{}, found {}; to open such a file, give its own path", expected, list(others));
  }
  if (!gguf.empty()) {
    fail("{}, found {}; to open a GGUF file, give its own path", expected, list(gguf));
  }
  if (!foreign.empty()) {
    fail("{}, found weights in other formats: {}; convert them to safetensors first", expected,
         list(foreign));
  }
  fail("{}, found no weights at all", expected);
}

}  // namespace

Checkpoint Checkpoint::open(const fs::path& path, Mode mode) {
  const auto open_file = [mode](const fs::path& file) {
    return mode == Mode::kMapped ? SafetensorsFile::open(file)
                                 : SafetensorsFile::open_header_only(file);
  };
  std::error_code ec;
  if (!fs::exists(path, ec)) fail("{}: no such file or folder", path.string());

  Checkpoint c;
  c.path_ = path;
  if (is_gguf_file(path)) {
    auto files = open_gguf_model(path, mode == Mode::kHeaderOnly);
    c.gguf_ = files[0];
    c.shards_.assign(files.begin(), files.end());
    c.add_all_tensors();
    return c;
  }
  const bool is_folder = fs::is_directory(path, ec);
  const fs::path single = is_folder ? path / kSingleFileName : path;
  if (!is_folder || fs::exists(single, ec)) {
    c.shards_.push_back(open_file(single));
    c.add_all_tensors();
    return c;
  }
  const fs::path index = path / kIndexName;
  if (!fs::exists(index, ec)) fail_without_weights(path);

  const auto map = read_index(index);
  std::map<std::string, size_t> files;
  for (const auto& [name, file] : map) files.emplace(file, 0);
  std::vector<std::string> missing;
  for (const auto& [file, number] : files) {
    if (!fs::exists(path / file, ec)) missing.push_back(file);
  }
  if (!missing.empty()) {
    fail("{}: {} of {} shards are missing: {}", index.string(), missing.size(), files.size(),
         fmt::join(missing, ", "));
  }
  for (auto& [file, number] : files) {
    number = c.shards_.size();
    c.shards_.push_back(open_file(path / file));
  }

  std::vector<std::string> lost;
  size_t n_lost = 0;
  c.index_.reserve(map.size());
  c.names_.reserve(map.size());
  for (const auto& [name, file] : map) {
    const size_t shard = files.find(file)->second;
    if (c.shards_[shard]->find(name) != nullptr) {
      c.add(name, shard);
    } else if (++n_lost <= 5) {
      lost.push_back(fmt::format("'{}' in {}", name, file));
    }
  }
  if (n_lost > 0) {
    fail("{}: {} tensors are not in the shard that the index names: {}{}", index.string(), n_lost,
         fmt::join(lost, ", "), n_lost > lost.size() ? ", ..." : "");
  }
  return c;
}

void Checkpoint::add_all_tensors() {
  for (size_t i = 0; i < shards_.size(); ++i) {
    for (const TensorEntry& t : shards_[i]->tensors()) add(t.name, i);
  }
  std::sort(names_.begin(), names_.end());
}

void Checkpoint::add(const std::string& name, size_t shard) {
  index_.emplace(name, shard);
  names_.push_back(name);
  total_bytes_ += shards_[shard]->find(name)->bytes;
}

std::optional<TensorInfo> Checkpoint::find(std::string_view name) const {
  const auto at = index_.find(std::string(name));
  if (at == index_.end()) return std::nullopt;
  const WeightFile& shard = *shards_[at->second];
  const TensorEntry& entry = *shard.find(name);
  return TensorInfo{shard.path().filename().string(), entry.dtype, entry.shape, entry.bytes};
}

Tensor Checkpoint::tensor(std::string_view name) const {
  const auto at = index_.find(std::string(name));
  if (at == index_.end()) fail("{}: no tensor '{}'", path_.string(), name);
  return shards_[at->second]->tensor(name);
}

}  // namespace dsv3
