#include <fmt/format.h>

#include "plot/canvas.h"

namespace dsv3::plot {
namespace {

std::string number(double x) {
  // Hundredths of a pixel are more than enough.
  std::string text = fmt::format("{:.2f}", x);
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text == "-0" ? "0" : text;
}

std::string paint(const char* what, const Color& c) {
  std::string text = fmt::format(" {}=\"#{:02x}{:02x}{:02x}\"", what, c.red, c.green, c.blue);
  if (c.opacity < 1) text += fmt::format(" {}-opacity=\"{}\"", what, number(c.opacity));
  return text;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

class SvgCanvas : public Canvas {
 public:
  SvgCanvas(double width, double height) {
    text_ = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
        "{1}\" font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\">\n",
        number(width), number(height));
    fill({0, 0, width, height}, {255, 255, 255});
  }
  void fill(const Rect& r, const Color& color) override {
    text_ += fmt::format(
        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"{} shape-rendering=\"crispEdges\"/>\n",
        number(r.left), number(r.top), number(r.width), number(r.height), paint("fill", color));
  }
  void line(std::span<const Point> points, double width, const Color& color) override {
    if (points.empty()) return;
    text_ += "<polyline points=\"";
    for (size_t i = 0; i < points.size(); ++i) {
      text_ += fmt::format("{}{},{}", i == 0 ? "" : " ", number(points[i].x), number(points[i].y));
    }
    text_ += fmt::format(
        "\" fill=\"none\"{} stroke-width=\"{}\" stroke-linejoin=\"round\" "
        "stroke-linecap=\"round\"/>\n",
        paint("stroke", color), number(width));
  }
  void disc(const Point& center, double radius, const Color& color) override {
    text_ += fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"{}\"{}/>\n", number(center.x),
                         number(center.y), number(radius), paint("fill", color));
  }
  void text(const Point& at, std::string_view text, const TextStyle& style) override {
    constexpr const char* kAnchors[] = {"start", "middle", "end"};
    text_ += fmt::format(
        "<text x=\"{}\" y=\"{}\" font-size=\"{}\" text-anchor=\"{}\"{}{}{}>{}</text>\n",
        number(at.x), number(at.y), number(style.size), kAnchors[static_cast<int>(style.anchor)],
        style.bold ? " font-weight=\"bold\"" : "",
        style.upwards ? fmt::format(" transform=\"rotate(-90 {} {})\"", number(at.x), number(at.y))
                      : "",
        paint("fill", style.color), escaped(text));
  }
  void clip(const Rect& r) override {
    ++clips_;
    text_ += fmt::format(
        "<clipPath id=\"c{0}\"><rect x=\"{1}\" y=\"{2}\" width=\"{3}\" "
        "height=\"{4}\"/></clipPath>\n"
        "<g clip-path=\"url(#c{0})\">\n",
        clips_, number(r.left), number(r.top), number(r.width), number(r.height));
  }
  void unclip() override { text_ += "</g>\n"; }
  std::string file() override { return text_ + "</svg>\n"; }

 private:
  std::string text_;
  int clips_ = 0;
};

}  // namespace

std::unique_ptr<Canvas> svg_canvas(double width, double height) {
  return std::make_unique<SvgCanvas>(width, height);
}

}  // namespace dsv3::plot
