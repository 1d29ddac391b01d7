#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "training/run.h"

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfigName = "train.json";
constexpr const char* kLockName = "lock";

void compare_fields(const std::string& name, const Json& before, const Json& now,
                    std::vector<std::string>& changes) {
  if (before == now) return;
  if (!before.is_object() || !now.is_object()) {
    changes.push_back(fmt::format("{}: {} before, {} now", name, before.dump(), now.dump()));
    return;
  }
  for (const auto& [key, value] : now.items()) {
    const std::string inner = name.empty() ? key : name + "." + key;
    const auto at = before.find(key);
    compare_fields(inner, at == before.end() ? Json() : *at, value, changes);
  }
}

}  // namespace

RunFolder::RunFolder(fs::path path) : path_(std::move(path)) {
  std::error_code ec;
  if (fs::exists(path_, ec) && !fs::is_directory(path_, ec)) {
    fail("{}: expected the folder of a run, found a file", path_.string());
  }
  fs::create_directories(path_, ec);
  if (ec) fail("{}: cannot make the folder: {}", path_.string(), ec.message());
  if (!fs::exists(path_ / kLockName) && !fs::is_empty(path_)) {
    fail("{}: expected the folder of a run, or none, found a folder with other files",
         path_.string());
  }
  // The file stays; what counts is the system's lock on it, which ends with the process.
  lock_ = ::open((path_ / kLockName).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) {
    fail("{}: cannot open: {}", (path_ / kLockName).string(), std::strerror(errno));
  }
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    const int why = errno;
    ::close(lock_);
    if (why == EWOULDBLOCK) fail("{}: another process is training in this folder", path_.string());
    fail("{}: cannot lock: {}", (path_ / kLockName).string(), std::strerror(why));
  }
  try {
    checkpoints_ = std::make_unique<CheckpointStore>(path_ / "checkpoints");
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

RunFolder::~RunFolder() { ::close(lock_); }

std::vector<std::string> RunFolder::take_config(const TrainConfig& config) {
  const fs::path file = path_ / kConfigName;
  std::vector<std::string> changes;
  if (fs::exists(file)) compare_fields("", read_json_file(file), config.to_json(), changes);
  write_file_atomically(file, config.to_json().dump(2) + "\n");
  return changes;
}

void require_identity(const Json& saved, const Json& now, const std::string& where) {
  const std::function<void(const std::string&, const Json&, const Json&)> compare =
      [&](const std::string& name, const Json& a, const Json& b) {
        if (a == b) return;
        if (!a.is_object() || !b.is_object()) {
          fail("{}: cannot go on with another configuration: {}: expected {}, found {}", where,
               name, a.dump(), b.dump());
        }
        const auto visit = [&](const Json& keys) {
          for (const auto& [key, ignored] : keys.items()) {
            compare(name.empty() ? key : name + "." + key, a.value(key, Json()),
                    b.value(key, Json()));
          }
        };
        visit(a);
        visit(b);
      };
  compare("", saved, now);
}

}  // namespace dsv3::training
