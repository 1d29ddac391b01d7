#include <algorithm>
#include <cmath>
#include <vector>

#include "plot/canvas.h"
#include "plot/png.h"
#include "plot/stroke_font.h"

namespace dsv3::plot {
namespace {

double distance_to_segment(const Point& p, const Point& a, const Point& b) {
  const double dx = b.x - a.x, dy = b.y - a.y, length2 = dx * dx + dy * dy;
  double t = length2 > 0 ? ((p.x - a.x) * dx + (p.y - a.y) * dy) / length2 : 0;
  t = std::clamp(t, 0.0, 1.0);
  return std::hypot(p.x - a.x - t * dx, p.y - a.y - t * dy);
}

/// A picture in pixels; everything is antialiased by how much of a pixel it covers.
class PngCanvas : public Canvas {
 public:
  PngCanvas(double width, double height, double scale)
      : scale_(scale),
        width_(std::lround(width * scale)),
        height_(std::lround(height * scale)),
        rgb_(static_cast<size_t>(width_ * height_ * 3), 255),
        mask_(static_cast<size_t>(width_ * height_), 0.0f) {
    unclip();
  }

  void fill(const Rect& r, const Color& color) override {
    const double left = r.left * scale_, right = r.right() * scale_;
    const double top = r.top * scale_, bottom = r.bottom() * scale_;
    const Box box = clipped(left, top, right, bottom);
    for (int64_t y = box.top; y < box.bottom; ++y) {
      for (int64_t x = box.left; x < box.right; ++x)
        blend(x, y, color, overlap(left, right, x) * overlap(top, bottom, y));
    }
  }

  void line(std::span<const Point> points, double width, const Color& color) override {
    if (points.empty()) return;
    std::vector<Point> scaled;
    for (const Point& p : points) scaled.push_back({p.x * scale_, p.y * scale_});
    stroke(scaled, width * scale_, color);
  }

  void disc(const Point& center, double radius, const Color& color) override {
    const Point c{center.x * scale_, center.y * scale_};
    stroke({c, c}, 2 * radius * scale_, color);
  }

  void text(const Point& at, std::string_view text, const TextStyle& style) override {
    double shift = 0;
    const double width = text_width(text, style.size);
    if (style.anchor == Anchor::kMiddle) shift = width / 2;
    if (style.anchor == Anchor::kEnd) shift = width;
    // In whole pixels, so that upright strokes are equally sharp everywhere.
    const double x0 = std::round((at.x - (style.upwards ? 0 : shift)) * scale_);
    const double y0 = std::round((at.y + (style.upwards ? shift : 0)) * scale_);
    const double size = style.size * scale_;
    for (std::vector<Point> points : text_strokes(text)) {
      for (Point& p : points) {
        p = style.upwards ? Point{x0 - p.y * size, y0 - p.x * size}
                          : Point{x0 + p.x * size, y0 - p.y * size};
      }
      stroke(points, size * (style.bold ? 0.125 : 0.085), style.color);
    }
  }

  void clip(const Rect& r) override {
    clip_ = {std::max<int64_t>(std::lround(r.left * scale_), 0),
             std::max<int64_t>(std::lround(r.top * scale_), 0),
             std::min<int64_t>(std::lround(r.right() * scale_), width_),
             std::min<int64_t>(std::lround(r.bottom() * scale_), height_)};
  }
  void unclip() override { clip_ = {0, 0, width_, height_}; }

  std::string file() override { return png_file(rgb_, width_, height_); }

 private:
  struct Box {
    int64_t left, top, right, bottom;
  };

  Box clipped(double left, double top, double right, double bottom) const {
    const auto bound = [](double value, int64_t low, int64_t high) {
      return static_cast<int64_t>(
          std::clamp(value, static_cast<double>(low), static_cast<double>(high)));
    };
    return {bound(std::floor(left), clip_.left, clip_.right),
            bound(std::floor(top), clip_.top, clip_.bottom),
            bound(std::ceil(right), clip_.left, clip_.right),
            bound(std::ceil(bottom), clip_.top, clip_.bottom)};
  }

  /// How much of pixel `i` lies between two borders.
  static double overlap(double begin, double end, int64_t i) {
    const auto pixel = static_cast<double>(i);
    return std::clamp(std::min(end, pixel + 1) - std::max(begin, pixel), 0.0, 1.0);
  }

  void blend(int64_t x, int64_t y, const Color& color, double coverage) {
    const double part = coverage * color.opacity;
    uint8_t* p = &rgb_[static_cast<size_t>((y * width_ + x) * 3)];
    const uint8_t channels[] = {color.red, color.green, color.blue};
    for (int i = 0; i < 3; ++i)
      p[i] = static_cast<uint8_t>(std::lround(p[i] + (channels[i] - p[i]) * part));
  }

  /// The union of all segments' shapes, in pixels, is painted once.
  void stroke(const std::vector<Point>& points, double width, const Color& color) {
    const double half = width / 2;
    Box all{width_, height_, 0, 0};
    const size_t segments = std::max<size_t>(points.size() - 1, 1);
    for (size_t i = 0; i < segments; ++i) {
      const Point &a = points[i], &b = points[std::min(i + 1, points.size() - 1)];
      if (!std::isfinite(a.x + a.y + b.x + b.y)) continue;
      const Box box = clipped(std::min(a.x, b.x) - half - 1, std::min(a.y, b.y) - half - 1,
                              std::max(a.x, b.x) + half + 1, std::max(a.y, b.y) + half + 1);
      for (int64_t y = box.top; y < box.bottom; ++y) {
        for (int64_t x = box.left; x < box.right; ++x) {
          const Point center{static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5};
          const double inside = half + 0.5 - distance_to_segment(center, a, b);
          if (inside <= 0) continue;
          // Lines thinner than a pixel cover less than one.
          const double coverage = std::min({inside, 1.0, width});
          float& m = mask_[static_cast<size_t>(y * width_ + x)];
          m = std::max(m, static_cast<float>(coverage));
        }
      }
      all = {std::min(all.left, box.left), std::min(all.top, box.top),
             std::max(all.right, box.right), std::max(all.bottom, box.bottom)};
    }
    for (int64_t y = all.top; y < all.bottom; ++y) {
      for (int64_t x = all.left; x < all.right; ++x) {
        float& m = mask_[static_cast<size_t>(y * width_ + x)];
        if (m > 0) blend(x, y, color, m);
        m = 0;
      }
    }
  }

  double scale_;
  int64_t width_, height_;
  std::vector<uint8_t> rgb_;  // [height, width, 3]
  std::vector<float> mask_;   // [height, width]: coverage, 0 between two lines
  Box clip_{};
};

}  // namespace

std::unique_ptr<Canvas> png_canvas(double width, double height, double scale) {
  return std::make_unique<PngCanvas>(width, height, scale);
}

Color mix(const Color& a, const Color& b, double part) {
  const double t = std::clamp(part, 0.0, 1.0);
  const auto channel = [&](uint8_t x, uint8_t y) {
    return static_cast<uint8_t>(std::lround(x + (y - x) * t));
  };
  return {channel(a.red, b.red), channel(a.green, b.green), channel(a.blue, b.blue),
          a.opacity + (b.opacity - a.opacity) * t};
}

}  // namespace dsv3::plot
