#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace dsv3::plot {

struct Color {
  uint8_t red = 0, green = 0, blue = 0;
  double opacity = 1;
};
/// Between two colours, 0: `a`, 1: `b`.
Color mix(const Color& a, const Color& b, double part);

struct Point {
  double x = 0, y = 0;
};
struct Rect {
  double left = 0, top = 0, width = 0, height = 0;
  double right() const { return left + width; }
  double bottom() const { return top + height; }
};

enum class Anchor : uint8_t { kStart, kMiddle, kEnd };

struct TextStyle {
  double size = 12;  ///< of a line, as CSS's font-size
  Color color;
  Anchor anchor = Anchor::kStart;
  bool upwards = false;  ///< turned by 90 degrees, to be read from below
  bool bold = false;
};

/// Something to draw on, white at first. Units are CSS pixels, y goes down.
class Canvas {
 public:
  virtual ~Canvas() = default;
  virtual void fill(const Rect& rect, const Color& color) = 0;
  /// With round ends and corners; translucent lines do not darken where they cross themselves.
  virtual void line(std::span<const Point> points, double width, const Color& color) = 0;
  virtual void disc(const Point& center, double radius, const Color& color) = 0;
  /// `at`: on the base line, at the text's beginning, middle or end.
  virtual void text(const Point& at, std::string_view text, const TextStyle& style) = 0;
  /// What is drawn from now on shows only inside.
  virtual void clip(const Rect& rect) = 0;
  virtual void unclip() = 0;
  /// The finished file.
  virtual std::string file() = 0;
};

std::unique_ptr<Canvas> svg_canvas(double width, double height);
/// Drawn at `scale` pixels a unit, letters as strokes.
std::unique_ptr<Canvas> png_canvas(double width, double height, double scale = 2);

/// Width of a text in the stroke letters, which is near that of other fonts.
double text_width(std::string_view text, double size);

}  // namespace dsv3::plot
