#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/test_files.h"
#include "training/trainer.h"
#include "training/window.h"

// Windows of tokens and states of trainers for the tests of this folder.
namespace dsv3::training {

/// A window of documents of these lengths with random tokens.
inline Window random_window(const std::vector<int64_t>& lengths, int64_t vocab_size,
                            std::mt19937& random) {
  Window w;
  for (size_t d = 0; d < lengths.size(); ++d) {
    for (int64_t i = 0; i < lengths[d]; ++i) {
      w.tokens.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocab_size)));
      w.documents.push_back(static_cast<int32_t>(d));
    }
  }
  return w;
}

inline std::vector<Window> random_windows(int64_t count, int64_t tokens, int64_t vocab_size,
                                          uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::vector<Window> windows;
  for (int64_t i = 0; i < count; ++i)
    windows.push_back(random_window({tokens}, vocab_size, random));
  return windows;
}

/// All that save_state writes, by name; the number of steps as "step".
inline std::map<std::string, std::vector<float>> state_of(const Trainer& trainer) {
  const TemporaryFolder folder;
  trainer.save_state(folder.path());
  const Checkpoint file = Checkpoint::open(folder / "optimizer");
  std::map<std::string, std::vector<float>> state;
  for (const std::string& name : file.names()) {
    const Tensor t = file.tensor(name);
    std::vector<float>& values = state[name];
    if (t.dtype() == DType::kI64) {
      values.push_back(static_cast<float>(t.as<int64_t>()[0]));
    } else {
      values.assign(t.as<float>().begin(), t.as<float>().end());
    }
  }
  return state;
}

/// |a - b| / |b| over all tensors whose names begin with `prefix`.
inline double relative_difference(const std::map<std::string, std::vector<float>>& a,
                                  const std::map<std::string, std::vector<float>>& b,
                                  const std::string& prefix) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0, norm = 0;
  for (const auto& [name, values] : b) {
    if (!name.starts_with(prefix)) continue;
    const std::vector<float>& others = a.at(name);
    for (size_t i = 0; i < values.size(); ++i) {
      difference += (double{others[i]} - values[i]) * (double{others[i]} - values[i]);
      norm += double{values[i]} * values[i];
    }
  }
  EXPECT_GT(norm, 0);
  return std::sqrt(difference / norm);
}

}  // namespace dsv3::training
