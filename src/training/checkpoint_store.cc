#include "training/checkpoint_store.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kSaving = ".saving-", kRemoving = ".removing-";

std::string folder_name(int64_t step) { return fmt::format("{}{:08}", kPrefix, step); }

bool is_checkpoint_name(const std::string& name) {
  return name.starts_with(kPrefix) && name.size() > kPrefix.size() &&
         name.find_first_not_of("0123456789", kPrefix.size()) == name.npos;
}

const StoredCheckpoint* best_of(const std::vector<StoredCheckpoint>& all) {
  const StoredCheckpoint* best = nullptr;
  for (const StoredCheckpoint& c : all) {
    if (!c.state.valid_loss || !std::isfinite(*c.state.valid_loss)) continue;
    if (best == nullptr || *c.state.valid_loss < *best->state.valid_loss) best = &c;
  }
  return best;
}

}  // namespace

Json RunState::to_json() const {
  return {{"step", step},
          {"tokens", tokens},
          {"next_window", next_window},
          {"skips", skips},
          {"recent_losses", recent_losses},
          {"valid_loss", valid_loss ? Json(*valid_loss) : Json()},
          {"identity", identity}};
}

RunState RunState::from_json(const Json& json, const std::string& where) {
  try {
    RunState state;
    state.step = json.at("step").get<int64_t>();
    state.tokens = json.at("tokens").get<int64_t>();
    state.next_window = json.at("next_window").get<int64_t>();
    state.skips = json.at("skips").get<int64_t>();
    state.recent_losses = json.at("recent_losses").get<std::vector<double>>();
    if (!json.at("valid_loss").is_null()) state.valid_loss = json.at("valid_loss").get<double>();
    state.identity = json.at("identity");
    return state;
  } catch (const Json::exception& error) {
    fail("{}: expected the state of a run: {}", where, json_error_reason(error));
  }
}

CheckpointStore::CheckpointStore(fs::path folder) : folder_(std::move(folder)) {
  fs::create_directories(folder_);
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kSaving) || name.starts_with(kRemoving)) leftovers.push_back(entry.path());
  }
  for (const fs::path& path : leftovers) fs::remove_all(path);
}

bool CheckpointStore::save(const RunState& state, int64_t keep_last,
                           const std::function<void(const fs::path&)>& write) {
  const fs::path target = folder_ / folder_name(state.step);
  if (fs::exists(target / "run.json")) return false;
  const fs::path saving = folder_ / fmt::format("{}{}", kSaving, folder_name(state.step));
  fs::remove_all(saving);
  fs::create_directory(saving);
  try {
    write(saving);
    write_file_atomically(saving / "run.json", state.to_json().dump(2) + "\n");
    sync_tree(saving);
    if (fs::exists(target)) set_aside(target);  // damaged
    fs::rename(saving, target);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(saving, ignored);
    throw;
  }
  sync_folder(folder_);
  prune(keep_last);
  return true;
}

std::vector<StoredCheckpoint> CheckpointStore::all() const {
  std::vector<StoredCheckpoint> all;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    if (!is_checkpoint_name(entry.path().filename().string())) continue;
    const fs::path file = entry.path() / "run.json";
    try {
      all.push_back({entry.path(), RunState::from_json(read_json_file(file), file.string())});
    } catch (const Error& error) {
      warn("not a checkpoint: {}", error.what());
    }
  }
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a.state.step < b.state.step; });
  return all;
}

std::optional<StoredCheckpoint> CheckpointStore::latest() const {
  const auto stored = all();
  return stored.empty() ? std::nullopt : std::optional(stored.back());
}

std::optional<StoredCheckpoint> CheckpointStore::best() const {
  const auto stored = all();
  const StoredCheckpoint* best = best_of(stored);
  return best == nullptr ? std::nullopt : std::optional(*best);
}

void CheckpointStore::prune(int64_t keep_last) const {
  const auto stored = all();
  const StoredCheckpoint* best = best_of(stored);
  // Links first: they never lead nowhere.
  link("latest", stored.back().folder);
  if (best != nullptr) link("best", best->folder);
  const auto count = static_cast<int64_t>(stored.size());
  for (int64_t i = 0; i < count - keep_last; ++i) {
    const StoredCheckpoint& old = stored[static_cast<size_t>(i)];
    if (&old == best) continue;
    set_aside(old.folder);
  }
}

void CheckpointStore::set_aside(const fs::path& checkpoint) const {
  const fs::path removing =
      folder_ / fmt::format("{}{}", kRemoving, checkpoint.filename().string());
  fs::rename(checkpoint, removing);
  fs::remove_all(removing);
}

void CheckpointStore::link(const std::string& name, const fs::path& checkpoint) const {
  const fs::path temporary = folder_ / fmt::format("{}{}", kSaving, name);
  std::error_code ec;
  fs::remove(temporary, ec);
  fs::create_directory_symlink(checkpoint.filename(), temporary, ec);
  if (!ec) fs::rename(temporary, folder_ / name, ec);
  if (ec) warn("{}: cannot link: {}", (folder_ / name).string(), ec.message());
}

}  // namespace dsv3::training
