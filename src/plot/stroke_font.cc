#include "plot/stroke_font.h"

#include <array>
#include <cmath>
#include <string>

namespace dsv3::plot {
namespace {

/// A letter on a grid: x as a digit, y as a letter from a (2 below the base line, c) to j (the
/// height of capitals, 7 above it). Strokes are separated by blanks; "~" in front makes one round.
struct Glyph {
  char character;
  double width;
  const char* strokes;
};

constexpr Glyph kGlyphs[] = {
    {' ', 1.5, ""},
    {'!', 0, "0j0e 0c0c"},
    {'"', 1.5, "0j0h 1j1h"},
    {'#', 4, "0e4e 0g4g 1c1i 3c3i"},
    {'$', 4, "~4i3j1j0i0h1g3g4f4d3c1c0d 2b2j"},
    {'%', 6, "0c6j ~1h0i1j2i1h ~5c4d5e6d5c"},
    {'&', 5, "~5c1h1i2j3i3h0e0d1c3c5f"},
    {'\'', 0, "0j0h"},
    {'(', 1, "~1j0h0d1b"},
    {')', 1, "~0j1h1d0b"},
    {'*', 4, "0f4f 2d2h 1d3h 1h3d"},
    {'+', 4, "0f4f 2h2d"},
    {',', 1, "1c0b"},
    {'-', 3, "0f3f"},
    {'.', 0, "0c0c"},
    {'/', 3, "0c3j"},
    {'0', 4, "~1c3c4d4i3j1j0i0d1c"},
    {'1', 4, "1i2j2c 1c3c"},
    {'2', 4, "~0i1j3j4i4h3f0c 0c4c"},
    {'3', 4, "~0i1j3j4i4h3g2g ~2g3g4f4d3c1c0d"},
    {'4', 4, "3c3j0e4e"},
    {'5', 4, "4j0j0g ~0g3g4f4d3c1c0d"},
    {'6', 4, "~4i3j1j0i0d1c3c4d4f3g1g0f"},
    {'7', 4, "0j4j1c"},
    {'8', 4, "~1g0h0i1j3j4i4h3g1g ~1g0f0d1c3c4d4f3g1g"},
    {'9', 4, "~4g3f1f0g0i1j3j4i4d3c1c0d"},
    {':', 0, "0c0c 0g0g"},
    {';', 1, "1c0b 1g1g"},
    {'<', 4, "4h0f4d"},
    {'=', 4, "0g4g 0e4e"},
    {'>', 4, "0h4f0d"},
    {'?', 4, "~0i1j3j4i4h2f2e 2c2c"},
    {'@', 6, "~4e3d2e2g3h4g4e5d6e6h5j1j0i0d1c5c"},
    {'A', 4, "0c2j4c 1f3f"},
    {'B', 4, "0c0j ~0j3j4i4h3g0g ~0g3g4f4d3c0c"},
    {'C', 4, "~4i3j1j0i0d1c3c4d"},
    {'D', 4, "0c0j ~0j3j4i4d3c0c"},
    {'E', 3, "3j0j0c3c 0g2g"},
    {'F', 3, "3j0j0c 0g2g"},
    {'G', 4, "~4i3j1j0i0d1c3c4d4f 4f2f"},
    {'H', 4, "0c0j 4c4j 0g4g"},
    {'I', 0, "0c0j"},
    {'J', 3, "~3j3d2c1c0d"},
    {'K', 4, "0c0j 4j0f 1g4c"},
    {'L', 3, "0j0c3c"},
    {'M', 6, "0c0j3e6j6c"},
    {'N', 4, "0c0j4c4j"},
    {'O', 5, "~1c4c5d5i4j1j0i0d1c"},
    {'P', 4, "0c0j ~0j3j4i4g3f0f"},
    {'Q', 5, "~1c4c5d5i4j1j0i0d1c 3e5b"},
    {'R', 4, "0c0j ~0j3j4i4g3f0f 2f4c"},
    {'S', 4, "~4i3j1j0i0h1g3g4f4d3c1c0d"},
    {'T', 4, "0j4j 2j2c"},
    {'U', 4, "~0j0d1c3c4d4j"},
    {'V', 4, "0j2c4j"},
    {'W', 6, "0j1c3i5c6j"},
    {'X', 4, "0c4j 0j4c"},
    {'Y', 4, "0j2g4j 2g2c"},
    {'Z', 4, "0j4j0c4c"},
    {'[', 1, "1j0j0b1b"},
    {'\\', 3, "0j3c"},
    {']', 1, "0j1j1b0b"},
    {'^', 4, "0h2j4h"},
    {'_', 4, "0b4b"},
    {'`', 1, "0j1i"},
    {'a', 4, "~4g3h1h0g0d1c3c4d 4h4c"},
    {'b', 4, "0j0c ~0g1h3h4g4d3c1c0d"},
    {'c', 4, "~4g3h1h0g0d1c3c4d"},
    {'d', 4, "4j4c ~4g3h1h0g0d1c3c4d"},
    {'e', 4, "~0f4f4g3h1h0g0d1c3c4d"},
    {'f', 2.5, "~3j2j1i1c 0h2h"},
    {'g', 4, "~4h4b3a1a0b ~4g3h1h0g0d1c3c4d"},
    {'h', 4, "0j0c ~0g1h3h4g4c"},
    {'i', 0, "0h0c 0j0j"},
    {'j', 1, "~1h1b0a 1j1j"},
    {'k', 3.5, "0j0c 3h0e 1f4c"},
    {'l', 0, "0j0c"},
    {'m', 6, "0h0c ~0g1h2h3g3c ~3g4h5h6g6c"},
    {'n', 4, "0h0c ~0g1h3h4g4c"},
    {'o', 4, "~1c3c4d4g3h1h0g0d1c"},
    {'p', 4, "0h0a ~0g1h3h4g4d3c1c0d"},
    {'q', 4, "4h4a ~4g3h1h0g0d1c3c4d"},
    {'r', 2.5, "0h0c ~0f1h3h"},
    {'s', 4, "~4g3h1h0g1f3f4d3c1c0d"},
    {'t', 2.5, "~1j1d2c3c 0h2h"},
    {'u', 4, "~0h0d1c3c4d 4h4c"},
    {'v', 4, "0h2c4h"},
    {'w', 6, "0h1c3g5c6h"},
    {'x', 4, "0h4c 0c4h"},
    {'y', 4, "0h2c 4h1a0a"},
    {'z', 4, "0h4h0c4c"},
    {'{', 2, "~2j1j1g0f1e1b2b"},
    {'|', 0, "0j0b"},
    {'}', 2, "~0j1j1g2f1e1b0b"},
    {'~', 4, "~0f1g3e4f"},
};
constexpr Glyph kBox = {0, 4, "0c0j4j4c0c"};
constexpr double kUnitX = 0.085, kUnitY = 0.1, kGap = 1.9;

const Glyph& glyph_of(char c) {
  const auto byte = static_cast<unsigned char>(c);
  if (byte < ' ' || byte > '~') return kBox;
  return kGlyphs[byte - ' '];
}

/// Characters, of which those beyond ASCII have several bytes.
template <typename F>
void for_each_character(std::string_view text, F&& f) {
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) f(c);
  }
}

/// Chaikin's corner cutting: each corner becomes two, a quarter of the way along its sides. Ends
/// stay; where they meet, the corner there is cut as well.
std::vector<Point> cut_corners(const std::vector<Point>& points) {
  const bool closed = points.front().x == points.back().x && points.front().y == points.back().y;
  std::vector<Point> out;
  if (!closed) out.push_back(points.front());
  for (size_t i = 0; i + 1 < points.size(); ++i) {
    const Point &a = points[i], &b = points[i + 1];
    out.push_back({0.75 * a.x + 0.25 * b.x, 0.75 * a.y + 0.25 * b.y});
    out.push_back({0.25 * a.x + 0.75 * b.x, 0.25 * a.y + 0.75 * b.y});
  }
  out.push_back(closed ? out.front() : points.back());
  return out;
}

void add_strokes(const Glyph& glyph, double x, std::vector<std::vector<Point>>& out) {
  std::vector<Point> points;
  bool round = false;
  const auto finish = [&] {
    if (points.empty()) return;
    if (round) points = cut_corners(cut_corners(cut_corners(points)));
    for (Point& p : points) p = {(x + p.x) * kUnitX, p.y * kUnitY};
    out.push_back(std::move(points));
    points.clear();
    round = false;
  };
  for (const char* at = glyph.strokes; *at != 0;) {
    if (*at == ' ') {
      finish();
      ++at;
    } else if (*at == '~') {
      round = true;
      ++at;
    } else {
      points.push_back({static_cast<double>(at[0] - '0'), static_cast<double>(at[1] - 'c')});
      at += 2;
    }
  }
  finish();
}

}  // namespace

std::vector<std::vector<Point>> text_strokes(std::string_view text) {
  std::vector<std::vector<Point>> strokes;
  double x = kGap / 2;
  for_each_character(text, [&](char c) {
    const Glyph& glyph = glyph_of(c);
    add_strokes(glyph, x, strokes);
    x += glyph.width + kGap;
  });
  return strokes;
}

double text_width(std::string_view text, double size) {
  double units = 0;
  for_each_character(text, [&](char c) { units += glyph_of(c).width + kGap; });
  return units * kUnitX * size;
}

}  // namespace dsv3::plot
