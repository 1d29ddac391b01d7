#pragma once

#include <string>
#include <vector>

#include "plot/canvas.h"

namespace dsv3::plot {

/// Values to write at an axis.
struct Tick {
  double value = 0;
  std::string label;
};
/// About `count` round numbers between two: 1, 2 or 5 times a power of ten apart.
std::vector<Tick> linear_ticks(double low, double high, int count);
/// Powers of ten between two positive numbers, and 2 and 5 times them where there are few.
std::vector<Tick> log_ticks(double low, double high);

/// A line or, with `dots`, a row of dots with a line through them. Values that are not finite, or
/// above 1e30, are left out.
struct Series {
  std::string name;  ///< for the legend; empty: not there
  std::vector<double> x, y;
  Color color;
  double width = 1.5;
  bool dots = false;
};

struct Chart {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  bool log_y = false;      ///< values that are not positive are left out
  bool from_zero = false;  ///< the axis begins at 0
};
/// Frame, grid, ticks, lines and a legend in the corner above the plot, all within `rect`. Without
/// a value to show, it says so.
void draw_chart(Canvas& canvas, const Chart& chart, const Rect& rect);

/// A table of colours: rows from top to bottom.
struct HeatMap {
  std::string title, x_label, y_label;
  std::vector<std::vector<double>> rows;  ///< all of one length; NaN: an empty cell
  std::vector<Tick> x_ticks, y_ticks;     ///< at cells: 0 is the middle of the first
};
/// `color`: of a value.
void draw_heat_map(Canvas& canvas, const HeatMap& map, const Rect& rect, Color (*color)(double));

}  // namespace dsv3::plot
