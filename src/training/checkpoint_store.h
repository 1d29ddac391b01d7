#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace dsv3::training {

/// Where a run is: what run.json of a checkpoint says.
struct RunState {
  int64_t step = 0;                   ///< the last one that was done
  int64_t tokens = 0;                 ///< predicted so far
  int64_t next_window = 0;            ///< of the training data
  int64_t skips = 0;                  ///< steps in a row that were skipped
  std::vector<double> recent_losses;  ///< what the next step's loss is compared with
  std::optional<double> valid_loss;   ///< if it was measured at this step
  /// What must be the same for the run to go on: sizes of the model, the data and its order.
  Json identity = Json::object();

  Json to_json() const;
  static RunState from_json(const Json& json, const std::string& where);
};

struct StoredCheckpoint {
  std::filesystem::path folder;
  RunState state;
};

/// The checkpoints of a run: folders step-00001000 in one folder. A checkpoint is written under
/// another name, put on disk and then renamed, so that one that has its name is complete; one is
/// renamed before it is removed. Symbolic links `latest` and `best` lead to two of them.
class CheckpointStore {
 public:
  /// Makes the folder if needed and removes what killed savings and removals have left.
  explicit CheckpointStore(std::filesystem::path folder);

  /// Calls `write` with an empty folder, which then becomes the checkpoint of state.step; run.json
  /// is added to it. Then removes all but the last `keep_last` and the best. Error, whatever
  /// `write` throws included, if it cannot be saved; then all is as it was. False, and nothing is
  /// done, if there is one of this step.
  bool save(const RunState& state, int64_t keep_last,
            const std::function<void(const std::filesystem::path&)>& write);

  /// In the order of their steps. What is not a checkpoint is not looked at; one without a readable
  /// run.json is left out with a warning.
  std::vector<StoredCheckpoint> all() const;
  std::optional<StoredCheckpoint> latest() const;
  /// The one with the lowest validation loss.
  std::optional<StoredCheckpoint> best() const;

 private:
  void prune(int64_t keep_last) const;
  /// Removes a checkpoint, under another name.
  void set_aside(const std::filesystem::path& checkpoint) const;
  void link(const std::string& name, const std::filesystem::path& checkpoint) const;

  std::filesystem::path folder_;
};

}  // namespace dsv3::training
