#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "plot/canvas.h"
#include "training/run_log.h"

namespace dsv3::training {

/// What is drawn of a run.
struct RunCurves {
  std::string name;
  std::vector<Column> metrics, validation;  ///< validation may be empty
  std::vector<ExpertLoadRecord> loads;
};
/// Reads the logs in a run's folder; they may be those of a run that goes on. Throws Error if there
/// is no metrics.csv.
RunCurves read_run(const std::filesystem::path& folder);

/// Losses of training, as they are and smoothed, of MTP and of validation.
void draw_losses(plot::Canvas& canvas, const RunCurves& run);
/// Learning rate, norm of the gradients, MaxVio of each layer, tokens a second.
void draw_training(plot::Canvas& canvas, const RunCurves& run);
/// Loads of experts: of all layers at the end, and of some layers over time.
void draw_experts(plot::Canvas& canvas, const RunCurves& run);

/// Draws all that there is as SVG and PNG into a folder, which is made if needed; returns the
/// files.
std::vector<std::filesystem::path> plot_run(const std::filesystem::path& run,
                                            const std::filesystem::path& folder);

}  // namespace dsv3::training
