// dsv3 plot: the curves of a run as pictures.

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/console.h"
#include "training/run_plots.h"

namespace dsv3::cli {
namespace {

struct PlotOptions {
  std::filesystem::path run;
  std::optional<std::filesystem::path> folder;
};

int run_plot(const PlotOptions& options) {
  for (const auto& file :
       training::plot_run(options.run, options.folder.value_or(options.run / "plots")))
    write_out(fmt::format("{}\n", file.string()));
  return kDone;
}

}  // namespace

void add_plot_command(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("plot", "Draw loss curves and expert loads of a training run");
  auto options = std::make_shared<PlotOptions>();
  command->add_option("RUN", options->run, "folder of the run")->required();
  command->add_option("-o,--output", options->folder, "folder for the pictures; default: RUN/plots")
      ->type_name("FOLDER");
  command->footer(R"(
Reads metrics.csv, validation.csv and expert_load.jsonl of a run, also of one that goes on, and
writes loss, training and experts, each as .svg and .png; prints their names.

Examples:
  dsv3 plot run
  dsv3 plot runs/second -o pictures)");
  command->callback([options, &action] { action = [options] { return run_plot(*options); }; });
}

}  // namespace dsv3::cli
