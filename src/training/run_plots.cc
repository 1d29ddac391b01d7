#include "training/run_plots.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/file.h"
#include "plot/chart.h"

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;
using plot::Canvas;
using plot::Chart;
using plot::Color;
using plot::Rect;
using plot::Series;

constexpr double kWidth = 960, kLossHeight = 540, kTrainingHeight = 680, kMargin = 16, kHeader = 34;
constexpr Color kBlue{37, 99, 205}, kOrange{222, 110, 20}, kGreen{22, 134, 92};
constexpr Color kMtp[] = {{126, 87, 194}, {190, 80, 150}, {120, 120, 120}};

const Column* column(const std::vector<Column>& columns, const std::string& name) {
  for (const Column& c : columns) {
    if (c.name == name) return &c;
  }
  return nullptr;
}

std::vector<double> values(const std::vector<Column>& columns, const std::string& name) {
  const Column* found = column(columns, name);
  return found == nullptr ? std::vector<double>() : found->values;
}

/// Mean over the values around each, a fiftieth of all; what is not finite does not count.
std::vector<double> smoothed(const std::vector<double>& raw) {
  const auto n = static_cast<int64_t>(raw.size());
  const int64_t reach = std::max<int64_t>(n / 100, 1);
  std::vector<double> out;
  double sum = 0;
  int64_t count = 0, begin = 0, end = 0;
  const auto add = [&](int64_t i, int sign) {
    const double x = raw[static_cast<size_t>(i)];
    if (!std::isfinite(x)) return;
    sum += sign * x;
    count += sign;
  };
  for (int64_t i = 0; i < n; ++i) {
    // At the beginning, where losses fall steeply, as far to the right as to the left.
    const int64_t last = std::min(i + std::min(reach, i), n - 1);
    while (end <= last) add(end++, 1);
    while (begin < i - reach) add(begin++, -1);
    out.push_back(count == 0 ? std::numeric_limits<double>::quiet_NaN()
                             : sum / static_cast<double>(count));
  }
  return out;
}

Color faint(Color c, double opacity = 0.25) {
  c.opacity = opacity;
  return c;
}

void add_curve(Chart& chart, const std::string& name, const std::vector<double>& x,
               const std::vector<double>& y, const Color& color) {
  if (y.empty()) return;
  chart.series.push_back({.x = x, .y = y, .color = faint(color), .width = 1});
  chart.series.push_back({.name = name, .x = x, .y = smoothed(y), .color = color, .width = 2});
}

void draw_header(Canvas& canvas, const RunCurves& run, const std::string& what) {
  canvas.text({kMargin, 24}, fmt::format("{}: {}", run.name, what),
              {.size = 17, .color = {30, 34, 42}, .bold = true});
}

/// Of the layers' columns: "max_violation_12".
std::vector<std::pair<std::string, const Column*>> layer_columns(const RunCurves& run) {
  constexpr std::string_view kPrefix = "max_violation_";
  std::vector<std::pair<std::string, const Column*>> layers;
  for (const Column& c : run.metrics) {
    if (c.name.starts_with(kPrefix)) layers.emplace_back(c.name.substr(kPrefix.size()), &c);
  }
  return layers;
}

/// Early layers dark blue, late ones yellow.
Color layer_color(size_t i, size_t count) {
  constexpr Color kStops[] = {
      {48, 30, 110}, {40, 105, 160}, {30, 155, 137}, {120, 200, 80}, {235, 190, 30}};
  if (count < 2) return kStops[1];
  const double at = 4.0 * static_cast<double>(i) / static_cast<double>(count - 1);
  const size_t stop = std::min<size_t>(static_cast<size_t>(at), 3);
  return plot::mix(kStops[stop], kStops[stop + 1], at - static_cast<double>(stop));
}

/// Blue below the mean load, white at it, red above; full at a quarter and at four times.
Color load_color(double relative) {
  constexpr Color kWhite{248, 248, 248}, kLow{33, 82, 160}, kHigh{178, 24, 43};
  constexpr double kFull = 2;  // doublings
  const double doublings = relative <= 0 ? -kFull : std::log2(relative);
  return doublings < 0 ? plot::mix(kWhite, kLow, -doublings / kFull)
                       : plot::mix(kWhite, kHigh, doublings / kFull);
}

/// Each expert's load over the mean.
std::vector<double> relative_load(const std::vector<double>& load) {
  double sum = 0;
  for (const double x : load) sum += x;
  std::vector<double> out;
  for (const double x : load)
    out.push_back(sum == 0 ? 1 : x * static_cast<double>(load.size()) / sum);
  return out;
}

/// A few cells' names: every so many that they do not touch.
std::vector<plot::Tick> cell_ticks(const std::vector<std::string>& names, size_t most) {
  std::vector<plot::Tick> ticks;
  const size_t every = std::max<size_t>((names.size() + most - 1) / most, 1);
  for (size_t i = 0; i < names.size(); i += every)
    ticks.push_back({static_cast<double>(i), names[i]});
  return ticks;
}

std::vector<std::string> numbers(size_t count) {
  std::vector<std::string> names;
  for (size_t i = 0; i < count; ++i) names.push_back(std::to_string(i));
  return names;
}

/// Steps, summed up in at most `columns` groups of neighbours: [experts][columns] of relative loads
/// and the groups' last steps.
struct LoadOverTime {
  std::vector<std::vector<double>> rows;
  std::vector<int64_t> steps;
};
LoadOverTime load_over_time(const RunCurves& run, size_t layer, size_t columns) {
  LoadOverTime out;
  const size_t records = run.loads.size(), groups = std::min(records, columns);
  const size_t experts = run.loads.front().loads[layer].size();
  out.rows.resize(experts);
  for (size_t g = 0; g < groups; ++g) {
    std::vector<double> sum(experts, 0.0);
    const size_t end = (g + 1) * records / groups;
    for (size_t r = g * records / groups; r < end; ++r) {
      for (size_t e = 0; e < experts; ++e)
        sum[e] += static_cast<double>(run.loads[r].loads[layer][e]);
    }
    const std::vector<double> relative = relative_load(sum);
    for (size_t e = 0; e < experts; ++e) out.rows[e].push_back(relative[e]);
    out.steps.push_back(run.loads[end - 1].step);
  }
  return out;
}

/// Round numbers of steps, where they lie between the cells' own.
std::vector<plot::Tick> step_ticks(const std::vector<int64_t>& steps) {
  const auto first = static_cast<double>(steps.front()), last = static_cast<double>(steps.back());
  if (steps.size() < 2) return {{0, std::to_string(steps.front())}};
  auto ticks = plot::linear_ticks(first, last, 5);
  for (plot::Tick& tick : ticks)
    tick.value = (tick.value - first) / (last - first) * static_cast<double>(steps.size() - 1);
  return ticks;
}

void draw_color_bar(Canvas& canvas, double right, double y) {
  constexpr double kBar = 200;
  constexpr int kCells = 100;
  const double left = right - kBar;
  for (int i = 0; i < kCells; ++i) {
    const double doublings = -2 + 4.0 * (i + 0.5) / kCells;
    canvas.fill({left + kBar * i / kCells, y, kBar / kCells, 10}, load_color(std::exp2(doublings)));
  }
  const char* labels[] = {"1/4", "1/2", "1", "2", "4"};
  for (int i = 0; i < 5; ++i) {
    canvas.text({left + kBar * i / 4, y + 22}, labels[i],
                {.size = 11, .color = {95, 102, 115}, .anchor = plot::Anchor::kMiddle});
  }
  canvas.text({left - 14, y + 9}, "load / mean load",
              {.size = 11.5, .color = {95, 102, 115}, .anchor = plot::Anchor::kEnd});
}

// How the picture of experts is laid out: one map of all layers, then small ones of some.
constexpr size_t kMostLayers = 12, kAcross = 3;
double all_layers_height(size_t layers) {
  return std::clamp(20.0 * static_cast<double>(layers), 110.0, 420.0) + 60;
}
constexpr double kSmallHeight = 190, kExpertsTop = 62;

std::vector<size_t> chosen_layers(size_t layers) {
  std::vector<size_t> chosen;
  const size_t count = std::min(layers, kMostLayers);
  for (size_t i = 0; i < count; ++i)
    chosen.push_back(count == 1 ? 0 : i * (layers - 1) / (count - 1));
  return chosen;
}

double experts_height(const RunCurves& run) {
  const size_t layers = run.loads.front().layers.size();
  const size_t rows = (chosen_layers(layers).size() + kAcross - 1) / kAcross;
  return kExpertsTop + all_layers_height(layers) + kSmallHeight * static_cast<double>(rows) +
         kMargin;
}

void require_same_layers(const std::vector<ExpertLoadRecord>& loads, const fs::path& path) {
  for (const ExpertLoadRecord& record : loads) {
    bool same = record.layers == loads.front().layers;
    for (size_t i = 0; same && i < record.loads.size(); ++i)
      same = !record.loads[i].empty() && record.loads[i].size() == loads.front().loads[i].size();
    if (same && !record.layers.empty()) continue;
    fail("{}: step {}: expected the layers and experts of the first record", path.string(),
         record.step);
  }
}

}  // namespace

RunCurves read_run(const fs::path& folder) {
  RunCurves run;
  if (!fs::exists(folder / "metrics.csv")) {
    fail("{}: expected the folder of a run, found no metrics.csv in it", folder.string());
  }
  fs::path full = fs::absolute(folder).lexically_normal();
  if (!full.has_filename()) full = full.parent_path();
  run.name = full.filename().string();
  run.metrics = read_csv(folder / "metrics.csv");
  for (const char* name : {"step", "loss", "learning_rate", "grad_norm"}) {
    if (column(run.metrics, name) == nullptr)
      fail("{}: no column '{}'", (folder / "metrics.csv").string(), name);
  }
  if (fs::exists(folder / "validation.csv")) run.validation = read_csv(folder / "validation.csv");
  if (fs::exists(folder / "expert_load.jsonl")) {
    run.loads = read_expert_loads(folder / "expert_load.jsonl");
    require_same_layers(run.loads, folder / "expert_load.jsonl");
  }
  return run;
}

void draw_losses(Canvas& canvas, const RunCurves& run) {
  draw_header(canvas, run, "loss");
  Chart chart{.title = "cross-entropy, nats per token", .x_label = "step"};
  const std::vector<double> steps = values(run.metrics, "step");
  const std::vector<double> valid_steps = values(run.validation, "step");
  for (size_t d = 1;; ++d) {
    const std::string name = fmt::format("mtp_loss_{}", d);
    if (column(run.metrics, name) == nullptr) break;
    const Color color = kMtp[std::min<size_t>(d - 1, std::size(kMtp) - 1)];
    add_curve(chart, fmt::format("MTP {}", d), steps, values(run.metrics, name), color);
    if (valid_steps.empty()) continue;
    chart.series.push_back({.name = fmt::format("MTP {} validation", d),
                            .x = valid_steps,
                            .y = values(run.validation, name),
                            .color = plot::mix(color, {230, 60, 60}, 0.45),
                            .dots = true});
  }
  add_curve(chart, "training", steps, values(run.metrics, "loss"), kBlue);
  if (!valid_steps.empty()) {
    chart.series.push_back({.name = "validation",
                            .x = valid_steps,
                            .y = values(run.validation, "loss"),
                            .color = kOrange,
                            .dots = true});
  }
  draw_chart(canvas, chart, {kMargin, kHeader, kWidth - 2 * kMargin, kLossHeight - kHeader - 8});
}

void draw_training(Canvas& canvas, const RunCurves& run) {
  draw_header(canvas, run, "training");
  const std::vector<double> steps = values(run.metrics, "step");
  const double width = (kWidth - 3 * kMargin) / 2, height = (kTrainingHeight - kHeader - 24) / 2;
  const auto place = [&](int across, int down) {
    return Rect{kMargin + across * (width + kMargin), kHeader + down * (height + 12), width,
                height};
  };
  Chart rate{.title = "learning rate", .x_label = "step", .from_zero = true};
  rate.series.push_back(
      {.x = steps, .y = values(run.metrics, "learning_rate"), .color = kBlue, .width = 2});
  draw_chart(canvas, rate, place(0, 0));

  Chart norm{.title = "norm of the gradients", .x_label = "step", .log_y = true};
  add_curve(norm, "", steps, values(run.metrics, "grad_norm"), kGreen);
  draw_chart(canvas, norm, place(1, 0));

  Chart violation{.title = "MaxVio", .x_label = "step", .from_zero = true};
  const auto layers = layer_columns(run);
  for (size_t i = 0; i < layers.size(); ++i) {
    // All in the legend if there are few, else the first, the middle and the last.
    const bool named =
        layers.size() <= 5 || i == 0 || i == layers.size() / 2 || i + 1 == layers.size();
    violation.series.push_back({.name = named ? "layer " + layers[i].first : "",
                                .x = steps,
                                .y = smoothed(layers[i].second->values),
                                .color = layer_color(i, layers.size())});
  }
  draw_chart(canvas, violation, place(0, 1));

  Chart speed{.title = "tokens a second", .x_label = "step", .from_zero = true};
  add_curve(speed, "", steps, values(run.metrics, "tokens_per_second"), kOrange);
  draw_chart(canvas, speed, place(1, 1));
}

void draw_experts(Canvas& canvas, const RunCurves& run) {
  draw_header(canvas, run, "load of experts");
  draw_color_bar(canvas, kWidth - kMargin - 8, 18);
  const ExpertLoadRecord& last = run.loads.back();
  std::vector<std::string> layer_names;
  for (const int64_t layer : last.layers) layer_names.push_back(std::to_string(layer));

  plot::HeatMap all{.title = fmt::format("all layers at step {}", last.step),
                    .x_label = "expert",
                    .y_label = "layer"};
  for (const auto& load : last.loads)
    all.rows.push_back(relative_load(std::vector<double>(load.begin(), load.end())));
  all.x_ticks = cell_ticks(numbers(last.loads.front().size()), 32);
  all.y_ticks = cell_ticks(layer_names, 16);
  const double height = all_layers_height(last.layers.size());
  draw_heat_map(canvas, all, {kMargin, kExpertsTop - 10, kWidth - 2 * kMargin, height}, load_color);

  const double width = (kWidth - (kAcross + 1) * kMargin) / kAcross;
  size_t place = 0;
  for (const size_t layer : chosen_layers(last.layers.size())) {
    const double left = kMargin + static_cast<double>(place % kAcross) * (width + kMargin);
    const double top = kExpertsTop + height + static_cast<double>(place / kAcross) * kSmallHeight;
    const LoadOverTime over_time = load_over_time(run, layer, 100);
    plot::HeatMap map{.title = "layer " + layer_names[layer],
                      .x_label = "step",
                      .y_label = "expert",
                      .rows = over_time.rows};
    map.x_ticks = step_ticks(over_time.steps);
    map.y_ticks = cell_ticks(numbers(over_time.rows.size()), 6);
    draw_heat_map(canvas, map, {left, top, width, kSmallHeight - 8}, load_color);
    ++place;
  }
}

std::vector<fs::path> plot_run(const fs::path& run_folder, const fs::path& folder) {
  const RunCurves run = read_run(run_folder);
  std::error_code ec;
  fs::create_directories(folder, ec);
  if (ec) fail("{}: cannot make the folder: {}", folder.string(), ec.message());
  std::vector<fs::path> files;
  const auto draw = [&](const char* name, double height, auto&& f) {
    for (const bool svg : {true, false}) {
      const auto canvas = svg ? plot::svg_canvas(kWidth, height) : plot::png_canvas(kWidth, height);
      f(*canvas, run);
      files.push_back(folder / fmt::format("{}.{}", name, svg ? "svg" : "png"));
      write_file_atomically(files.back(), canvas->file());
    }
  };
  draw("loss", kLossHeight, draw_losses);
  draw("training", kTrainingHeight, draw_training);
  if (!run.loads.empty()) draw("experts", experts_height(run), draw_experts);
  return files;
}

}  // namespace dsv3::training
