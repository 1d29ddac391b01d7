// Speed of training steps on random tokens: training_speed CONFIG.json float32|bfloat16 WINDOWS LENGTH
// STEPS [MICRO_BATCH_WINDOWS] [recompute]. Prints tokens/s (median, least, most), the share of the
// matrix peak given in GFLOP/s by DSV3_PEAK, and memory.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/memory.h"
#include "training/trainer.h"

namespace dsv3 {
namespace {

int run(int argc, char** argv) {
  if (argc < 6)
    fail("usage: {} CONFIG.json float32|bfloat16 WINDOWS LENGTH STEPS [MICRO] [recompute]", argv[0]);
  const std::string dtype = argv[2];
  const int64_t windows = std::stoll(argv[3]), length = std::stoll(argv[4]);
  const int steps = std::stoi(argv[5]);
  training::TrainerOptions options;
  options.dtype = dtype == "float32" ? training::TrainingDType::kFloat32
                                     : training::TrainingDType::kBFloat16;
  options.micro_batch_windows = argc > 6 ? std::stoll(argv[6]) : 0;
  options.recompute = argc > 7;
  training::Trainer trainer =
      training::Trainer::from_config(DeepseekV3Config::from_file(argv[1]), 1, options);
  std::mt19937 random(1);
  std::uniform_int_distribution<int32_t> ids(0, static_cast<int32_t>(trainer.config().vocab_size) - 1);
  std::vector<double> speeds;
  double loss = 0;
  for (int s = 0; s <= steps; ++s) {
    std::vector<training::Window> batch(windows);
    for (training::Window& w : batch) {
      for (int64_t i = 0; i <= length; ++i) w.tokens.push_back(ids(random));
      w.documents.assign(length + 1, 0);
    }
    const auto begin = std::chrono::steady_clock::now();
    const training::StepReport report = trainer.step(
        batch, {.learning_rate = 3e-4, .bias_update_speed = 1e-3, .mtp_loss_weight = 0.3});
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    loss = report.loss;
    if (s > 0) speeds.push_back(static_cast<double>(report.tokens) / seconds.count());
  }
  std::sort(speeds.begin(), speeds.end());
  const double median = speeds[speeds.size() / 2];
  const double flops = trainer.flops_per_token(length) * median;
  fmt::print("params {:.2f}M {}: tok/s median {:.0f} min {:.0f} max {:.0f}, {:.1f} GFLOP/s",
             static_cast<double>(trainer.num_parameters()) / 1e6, dtype, median, speeds.front(),
             speeds.back(), flops / 1e9);
  if (const char* peak = std::getenv("DSV3_PEAK"))
    fmt::print(" ({:.0f} % of the matrix peak)", flops / 1e7 / std::stod(peak));
  fmt::print(", loss {:.3f}, activations {:.1f} KiB a token, peak memory {:.0f} MiB\n", loss,
             static_cast<double>(trainer.activation_bytes()) / 1024 /
                 static_cast<double>((options.micro_batch_windows > 0 ? options.micro_batch_windows
                                                                      : windows) *
                                     length),
             static_cast<double>(peak_resident_bytes()) / 0x1p20);
  return 0;
}

}  // namespace
}  // namespace dsv3

int main(int argc, char** argv) {
  try {
    return dsv3::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
}
