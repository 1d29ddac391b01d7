#pragma once

#include <string_view>
#include <vector>

#include "plot/canvas.h"

namespace dsv3::plot {

/// The lines that a text consists of, from its beginning on the base line, y up, in units of the
/// size. A line of one point twice is a dot. ASCII; other characters are boxes.
std::vector<std::vector<Point>> text_strokes(std::string_view text);

}  // namespace dsv3::plot
