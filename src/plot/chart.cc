#include "plot/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace dsv3::plot {
namespace {

constexpr Color kInk{30, 34, 42}, kMuted{95, 102, 115}, kGrid{230, 233, 238}, kFrame{200, 205, 213};
constexpr double kTitle = 14, kLabel = 11.5, kTickLabel = 11;

/// 1500000 as "1.5M", 0.00002 as "2e-05".
std::string tick_label(double value) {
  const double size = std::abs(value);
  if (size >= 1e9) return fmt::format("{:g}G", value / 1e9);
  if (size >= 1e6) return fmt::format("{:g}M", value / 1e6);
  if (size >= 1e4) return fmt::format("{:g}k", value / 1e3);
  return fmt::format("{:g}", value);
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void add(double x) {
    low = std::min(low, x);
    high = std::max(high, x);
  }
  bool empty() const { return low > high; }
};

/// Where a value lies on the picture.
struct Axis {
  double low, high, begin, end;
  bool log;
  double at(double value) const {
    const double part =
        log ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
    return begin + part * (end - begin);
  }
};

/// Beyond it an axis would overflow; losses are never there.
constexpr double kHuge = 1e30;

bool shown(double x, double y, bool log_y) {
  const bool small = std::abs(x) < kHuge && std::abs(y) < kHuge;  // false for NaN
  return small && (!log_y || y > 1 / kHuge);
}

void widen(Range& range, bool log, bool from_zero) {
  if (log) {
    if (range.low == range.high) {
      range.low /= 2;
      range.high *= 2;
    }
    const double margin = std::pow(range.high / range.low, 0.05);
    range.low /= margin;
    range.high *= margin;
    return;
  }
  if (from_zero) range.low = std::min(range.low, 0.0);
  if (range.low == range.high) {
    const double some = range.low == 0 ? 1 : std::abs(range.low) * 0.1;
    if (!from_zero || range.low < 0) range.low -= some;
    range.high += some;
  }
  const double margin = (range.high - range.low) * 0.05;
  if (!from_zero) range.low -= margin;
  range.high += margin;
}

void draw_frame(Canvas& canvas, const Rect& area, const std::string& title,
                const std::string& x_label, const std::string& y_label, const Rect& rect) {
  canvas.text({area.left, rect.top + kTitle}, title, {.size = kTitle, .color = kInk, .bold = true});
  canvas.text({area.left + area.width / 2, rect.bottom() - 4}, x_label,
              {.size = kLabel, .color = kMuted, .anchor = Anchor::kMiddle});
  if (!y_label.empty()) {
    canvas.text({rect.left + kLabel, area.top + area.height / 2}, y_label,
                {.size = kLabel, .color = kMuted, .anchor = Anchor::kMiddle, .upwards = true});
  }
}

double widest(const std::vector<Tick>& ticks) {
  double width = 0;
  for (const Tick& t : ticks) width = std::max(width, text_width(t.label, kTickLabel));
  return width;
}

/// Right of the title, from the right edge to the left.
void draw_legend(Canvas& canvas, const std::vector<Series>& series, const Rect& rect) {
  double x = rect.right() - 4;
  for (auto s = series.rbegin(); s != series.rend(); ++s) {
    if (s->name.empty()) continue;
    x -= text_width(s->name, kLabel);
    canvas.text({x, rect.top + kTitle}, s->name, {.size = kLabel, .color = kInk});
    const double y = rect.top + kTitle - 4;
    const Point ends[] = {{x - 22, y}, {x - 6, y}};
    canvas.line(ends, std::max(s->width, 2.0), s->color);
    if (s->dots) canvas.disc({x - 14, y}, 3, s->color);
    x -= 34;
  }
}

/// Several values in the width of a line: the least and the largest of them, so that nothing that
/// would be seen is lost and a file of a million steps stays small.
std::vector<Point> thinned(const std::vector<Point>& points, size_t columns) {
  if (points.size() <= 4 * columns) return points;
  std::vector<Point> out;
  for (size_t c = 0; c < columns; ++c) {
    const auto begin = points.begin() + static_cast<std::ptrdiff_t>(c * points.size() / columns);
    const auto end =
        points.begin() + static_cast<std::ptrdiff_t>((c + 1) * points.size() / columns);
    auto [low, high] =
        std::minmax_element(begin, end, [](const Point& a, const Point& b) { return a.y < b.y; });
    if (high < low) std::swap(low, high);
    out.push_back(*low);
    if (low != high) out.push_back(*high);
  }
  return out;
}

}  // namespace

std::vector<Tick> linear_ticks(double low, double high, int count) {
  const double raw = (high - low) / std::max(count, 1);
  const double power = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power < raw * (1 - 1e-9)) continue;
    step = factor * power;
    break;
  }
  std::vector<Tick> ticks;
  const auto last = static_cast<int64_t>(std::floor(high / step + 1e-9));
  for (auto i = static_cast<int64_t>(std::ceil(low / step - 1e-9)); i <= last; ++i) {
    const double value = static_cast<double>(i) * step;
    ticks.push_back({value, tick_label(value)});
  }
  return ticks;
}

std::vector<Tick> log_ticks(double low, double high) {
  const double decades = std::log10(high / low);
  std::vector<Tick> ticks;
  for (int e = static_cast<int>(std::floor(std::log10(low))); std::pow(10, e) <= high; ++e) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor != 1 && decades > 2.5) continue;
      const double value = factor * std::pow(10, e);
      if (value >= low && value <= high) ticks.push_back({value, tick_label(value)});
    }
  }
  // Within less than a factor of two or so a logarithm is as good as a line.
  if (ticks.size() < 3) return linear_ticks(low, high, 5);
  return ticks;
}

void draw_chart(Canvas& canvas, const Chart& chart, const Rect& rect) {
  Range xs, ys;
  for (const Series& s : chart.series) {
    for (size_t i = 0; i < s.x.size(); ++i) {
      if (!shown(s.x[i], s.y[i], chart.log_y)) continue;
      xs.add(s.x[i]);
      ys.add(s.y[i]);
    }
  }
  const bool empty = xs.empty();
  if (empty) {
    xs = {0, 1};
    ys = {chart.log_y ? 0.1 : 0, 1};
  }
  if (xs.low == xs.high) {
    xs.low -= 0.5;
    xs.high += 0.5;
  }
  widen(ys, chart.log_y, chart.from_zero);

  const auto y_ticks = chart.log_y
                           ? log_ticks(ys.low, ys.high)
                           : linear_ticks(ys.low, ys.high, static_cast<int>(rect.height / 45));
  const double left = (chart.y_label.empty() ? 0 : kLabel + 8) + widest(y_ticks) + 8;
  const Rect area{rect.left + left, rect.top + kTitle + 12, rect.width - left - 8,
                  rect.height - kTitle - 12 - 38};
  const Axis x{xs.low, xs.high, area.left, area.right(), false};
  const Axis y{ys.low, ys.high, area.bottom(), area.top, chart.log_y};
  draw_frame(canvas, area, chart.title, chart.x_label, chart.y_label, rect);

  for (const Tick& t : y_ticks) {
    const double at = y.at(t.value);
    const Point ends[] = {{area.left, at}, {area.right(), at}};
    canvas.line(ends, 1, kGrid);
    if (!empty) {
      canvas.text({area.left - 6, at + 4}, t.label,
                  {.size = kTickLabel, .color = kMuted, .anchor = Anchor::kEnd});
    }
  }
  for (const Tick& t : linear_ticks(xs.low, xs.high, static_cast<int>(area.width / 90))) {
    const double at = x.at(t.value);
    const Point ends[] = {{at, area.top}, {at, area.bottom()}};
    canvas.line(ends, 1, kGrid);
    if (!empty) {
      canvas.text({at, area.bottom() + 15}, t.label,
                  {.size = kTickLabel, .color = kMuted, .anchor = Anchor::kMiddle});
    }
  }
  if (empty) {
    canvas.text({area.left + area.width / 2, area.top + area.height / 2}, "no values",
                {.size = kLabel, .color = kMuted, .anchor = Anchor::kMiddle});
  }
  canvas.clip({area.left - 4, area.top - 4, area.width + 8, area.height + 8});
  for (const Series& s : chart.series) {
    std::vector<Point> points;
    for (size_t i = 0; i < s.x.size(); ++i) {
      if (shown(s.x[i], s.y[i], chart.log_y)) points.push_back({x.at(s.x[i]), y.at(s.y[i])});
    }
    if (!s.dots) points = thinned(points, static_cast<size_t>(area.width));
    canvas.line(points, s.width, s.color);
    // Many dots would be a thick line.
    if (s.dots && points.size() <= 120) {
      for (const Point& p : points) canvas.disc(p, 3, s.color);
    }
  }
  canvas.unclip();
  const Point frame[] = {
      {area.left, area.top}, {area.left, area.bottom()}, {area.right(), area.bottom()}};
  canvas.line(frame, 1, kFrame);
  draw_legend(canvas, chart.series, rect);
}

void draw_heat_map(Canvas& canvas, const HeatMap& map, const Rect& rect, Color (*color)(double)) {
  const double left = (map.y_label.empty() ? 0 : kLabel + 8) + widest(map.y_ticks) + 8;
  const Rect area{rect.left + left, rect.top + kTitle + 10, rect.width - left - 8,
                  rect.height - kTitle - 10 - 36};
  draw_frame(canvas, area, map.title, map.x_label, map.y_label, rect);
  const size_t rows = map.rows.size(), columns = rows == 0 ? 0 : map.rows[0].size();
  if (columns == 0) return;
  const double width = area.width / static_cast<double>(columns);
  const double height = area.height / static_cast<double>(rows);
  // Borders in half pixels, so that there are no seams between cells.
  const auto border = [](double x) { return std::round(2 * x) / 2; };
  for (size_t r = 0; r < rows; ++r) {
    const double top = border(area.top + height * static_cast<double>(r));
    const double bottom = border(area.top + height * static_cast<double>(r + 1));
    for (size_t c = 0; c < columns; ++c) {
      if (std::isnan(map.rows[r][c])) continue;
      const double begin = border(area.left + width * static_cast<double>(c));
      const double end = border(area.left + width * static_cast<double>(c + 1));
      canvas.fill({begin, top, end - begin, bottom - top}, color(map.rows[r][c]));
    }
  }
  for (const Tick& t : map.x_ticks) {
    canvas.text({area.left + (t.value + 0.5) * width, area.bottom() + 14}, t.label,
                {.size = kTickLabel, .color = kMuted, .anchor = Anchor::kMiddle});
  }
  for (const Tick& t : map.y_ticks) {
    canvas.text({area.left - 6, area.top + (t.value + 0.5) * height + 4}, t.label,
                {.size = kTickLabel, .color = kMuted, .anchor = Anchor::kEnd});
  }
  const Point frame[] = {{area.left, area.top},
                         {area.right(), area.top},
                         {area.right(), area.bottom()},
                         {area.left, area.bottom()},
                         {area.left, area.top}};
  canvas.line(frame, 1, kFrame);
}

}  // namespace dsv3::plot
