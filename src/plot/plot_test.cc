#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/crc32.h"
#include "dsv3/error.h"
#include "plot/chart.h"
#include "plot/png.h"
#include "plot/stroke_font.h"

namespace dsv3::plot {
namespace {

// ---- a reader of PNG files, for what png_file writes: RGB, fixed Huffman codes

uint32_t be32(const std::string& s, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(s.at(at + i));
  return value;
}

class Inflate {
 public:
  explicit Inflate(const std::string& bytes) : bytes_(bytes) {}
  std::string run() {
    EXPECT_EQ(bits(1), 1u);
    EXPECT_EQ(bits(2), 1u);
    constexpr int kLength[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                               31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    while (true) {
      const uint32_t s = symbol();
      if (s == 256) return out_;
      if (s < 256) {
        out_ += static_cast<char>(s);
        continue;
      }
      const uint32_t i = s - 257;
      const int extra = i < 8 || i == 28 ? 0 : static_cast<int>(i / 4) - 1;
      const uint32_t length = static_cast<uint32_t>(kLength[i]) + bits(extra);
      const uint32_t distance = code(5) + 1;
      EXPECT_LE(distance, 4u);  // no extra bits
      if (distance > out_.size()) throw std::runtime_error("a match before the beginning");
      for (uint32_t k = 0; k < length; ++k) out_ += out_[out_.size() - distance];
    }
  }

 private:
  uint32_t bits(int n) {
    uint32_t value = 0;
    for (int i = 0; i < n; ++i, ++at_)
      value |= (static_cast<uint8_t>(bytes_.at(at_ / 8)) >> at_ % 8 & 1u) << i;
    return value;
  }
  uint32_t code(int n) {
    uint32_t value = 0;
    for (int i = 0; i < n; ++i) value = value << 1 | bits(1);
    return value;
  }
  uint32_t symbol() {
    uint32_t c = code(7);
    if (c <= 0x17) return 256 + c;
    c = c << 1 | bits(1);
    if (c >= 0x30 && c <= 0xBF) return c - 0x30;
    if (c >= 0xC0 && c <= 0xC7) return 280 + c - 0xC0;
    c = c << 1 | bits(1);
    return 144 + c - 0x190;
  }
  const std::string& bytes_;
  size_t at_ = 0;
  std::string out_;
};

struct Picture {
  uint32_t width = 0, height = 0;
  std::vector<uint8_t> rgb;
  std::vector<int> at(uint32_t x, uint32_t y) const {
    const uint8_t* p = &rgb[(y * width + x) * 3];
    return {p[0], p[1], p[2]};
  }
};

Picture read_png(const std::string& file) {
  EXPECT_EQ(file.substr(0, 8), "\x89PNG\r\n\x1a\n");
  Picture picture;
  std::string data;
  for (size_t at = 8; at < file.size();) {
    const uint32_t length = be32(file, at);
    const std::string body = file.substr(at + 4, 4 + length);
    EXPECT_EQ(crc32(std::as_bytes(std::span(body))), be32(file, at + 8 + length));
    if (body.starts_with("IHDR")) {
      picture.width = be32(body, 4);
      picture.height = be32(body, 8);
    }
    if (body.starts_with("IDAT")) data += body.substr(4);
    at += 12 + length;
  }
  const std::string compressed = data.substr(2);
  const std::string rows = Inflate(compressed).run();
  const size_t row = picture.width * 3;
  EXPECT_EQ(rows.size(), picture.height * (row + 1));
  uint64_t a = 1, b = 0;
  for (const char c : rows) {
    a = (a + static_cast<uint8_t>(c)) % 65521;
    b = (b + a) % 65521;
  }
  EXPECT_EQ(be32(data, data.size() - 4), b << 16 | a);
  for (size_t y = 0; y < picture.height; ++y) {
    EXPECT_EQ(rows[y * (row + 1)], 2);
    for (size_t x = 0; x < row; ++x) {
      const uint8_t above = y == 0 ? 0 : picture.rgb[(y - 1) * row + x];
      picture.rgb.push_back(static_cast<uint8_t>(above + rows[y * (row + 1) + 1 + x]));
    }
  }
  return picture;
}

TEST(PngTest, PixelsReadBack) {
  for (const auto& [width, height] : {std::pair(1, 1), std::pair(7, 5), std::pair(300, 40)}) {
    for (const int period : {1, 3, 1000}) {
      std::vector<uint8_t> rgb;
      uint32_t state = 1;
      for (int i = 0; i < width * height * 3; ++i) {
        if (i % period == 0) state = state * 1664525 + 1013904223;
        // Blank stretches of all lengths between the noise.
        rgb.push_back(i / 50 % 3 == 0 ? 255 : static_cast<uint8_t>(state >> 24));
      }
      const Picture picture = read_png(png_file(rgb, width, height));
      EXPECT_EQ(picture.width, static_cast<uint32_t>(width));
      EXPECT_EQ(picture.rgb, rgb) << width << " x " << height << ", period " << period;
    }
  }
  EXPECT_THROW(png_file(std::vector<uint8_t>(5), 1, 2), Error);
}

TEST(PngTest, FlatPicturesAreSmall) {
  EXPECT_LT(png_file(std::vector<uint8_t>(1000 * 1000 * 3, 255), 1000, 1000).size(), 30000u);
}

// ---- canvases

TEST(PngCanvasTest, CoversPixelsByTheirShare) {
  const auto canvas = png_canvas(10, 10, 1);
  canvas->fill({1, 1, 2.5, 1}, {0, 0, 0});
  const Point line[] = {{0, 6.5}, {10, 6.5}};
  canvas->line(line, 1, {255, 0, 0});
  const Point crossing[] = {{2, 9}, {8, 9}, {2, 9}};
  canvas->line(crossing, 2, {0, 0, 255, 0.5});
  const Picture picture = read_png(canvas->file());
  EXPECT_EQ(picture.at(0, 1), (std::vector<int>{255, 255, 255}));
  EXPECT_EQ(picture.at(1, 1), (std::vector<int>{0, 0, 0}));
  EXPECT_EQ(picture.at(3, 1), (std::vector<int>{128, 128, 128}));
  EXPECT_EQ(picture.at(5, 6), (std::vector<int>{255, 0, 0}));
  EXPECT_EQ(picture.at(5, 4), (std::vector<int>{255, 255, 255}));
  EXPECT_EQ(picture.at(5, 8), (std::vector<int>{128, 128, 255}));  // there and back: once
}

TEST(PngCanvasTest, ClipsAndSurvivesWhatLiesOutside) {
  const auto canvas = png_canvas(10, 10, 2);
  canvas->clip({2, 2, 4, 4});
  canvas->fill({-100, -100, 1000, 1000}, {0, 0, 0});
  const Point far[] = {{-1e9, -1e9}, {1e9, 1e9}, {std::nan(""), 3}};
  canvas->line(far, 3, {0, 0, 0});
  canvas->unclip();
  canvas->text({-5, 500}, "outside", {});
  const Picture picture = read_png(canvas->file());
  EXPECT_EQ(picture.width, 20u);
  for (uint32_t y = 0; y < 20; ++y) {
    for (uint32_t x = 0; x < 20; ++x) {
      const bool inside = x >= 4 && x < 12 && y >= 4 && y < 12;
      EXPECT_EQ(picture.at(x, y)[0], inside ? 0 : 255) << x << ", " << y;
    }
  }
}

TEST(StrokeFontTest, EveryCharacterHasItsPlaceAndStaysInIt) {
  EXPECT_TRUE(text_strokes(" ").empty());
  for (char c = '!'; c <= '~'; ++c) {
    const std::string text(1, c);
    const auto strokes = text_strokes(text);
    ASSERT_FALSE(strokes.empty()) << c;
    for (const auto& stroke : strokes) {
      EXPECT_GE(stroke.size(), 2u) << c;
      for (const Point& p : stroke) {
        EXPECT_GT(p.x, 0) << c;
        EXPECT_LT(p.x, text_width(text, 1)) << c;
        EXPECT_GE(p.y, -0.21) << c;
        EXPECT_LE(p.y, 0.71) << c;
      }
    }
  }
  EXPECT_DOUBLE_EQ(text_width("ab", 12), text_width("a", 12) + text_width("b", 12));
  EXPECT_EQ(text_width("\xC3\xA4", 12), text_width("\xE2\x82\xAC", 12));  // one box each
}

TEST(SvgCanvasTest, TextIsEscapedAndNumbersAreShort) {
  const auto canvas = svg_canvas(100, 50);
  canvas->text({1.005, 2.5}, "a < b & c", {.anchor = Anchor::kEnd});
  const std::string file = canvas->file();
  EXPECT_NE(file.find("text-anchor=\"end\""), std::string::npos);
  EXPECT_NE(file.find(">a &lt; b &amp; c</text>"), std::string::npos);
  EXPECT_NE(file.find("y=\"2.5\""), std::string::npos);
  EXPECT_TRUE(file.ends_with("</svg>\n"));
}

// ---- axes

std::string labels(const std::vector<Tick>& ticks) {
  std::string text;
  for (const Tick& t : ticks) text += t.label + " ";
  return text;
}

TEST(TicksTest, AreRoundNumbersWithin) {
  EXPECT_EQ(labels(linear_ticks(0, 1, 5)), "0 0.2 0.4 0.6 0.8 1 ");
  EXPECT_EQ(labels(linear_ticks(1.9, 8.4, 7)), "2 3 4 5 6 7 8 ");
  EXPECT_EQ(labels(linear_ticks(0, 3000000, 6)), "0 500k 1M 1.5M 2M 2.5M 3M ");
  EXPECT_EQ(labels(linear_ticks(-0.00004, 0.00003, 4)), "-4e-05 -2e-05 0 2e-05 ");
  EXPECT_EQ(labels(log_ticks(0.5, 12)), "0.5 1 2 5 10 ");
  EXPECT_EQ(labels(log_ticks(1e-4, 1e3)), "0.0001 0.001 0.01 0.1 1 10 100 1000 ");
  EXPECT_EQ(labels(log_ticks(1.1, 1.9)), "1.2 1.4 1.6 1.8 ");
}

TEST(ChartTest, OddDataAreDrawn) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const std::vector<std::pair<std::vector<double>, std::vector<double>>> data = {
      {{}, {}},
      {{1}, {5}},
      {{1, 2}, {0, 0}},
      {{1, 2, 3}, {nan, infinity, nan}},
      {{1, 2, 3}, {nan, 2, -1}},
      {{1, 2}, {1e-300, 1e300}}};
  for (const auto& [x, y] : data) {
    for (const bool log : {false, true}) {
      for (const bool zero : {false, true}) {
        const auto svg = svg_canvas(300, 200);
        Chart chart{.title = "t", .x_label = "x", .log_y = log, .from_zero = zero};
        chart.series.push_back({.name = "s", .x = x, .y = y, .dots = true});
        draw_chart(*svg, chart, {0, 0, 300, 200});
        const std::string file = svg->file();
        EXPECT_EQ(file.find("nan"), std::string::npos);
        EXPECT_EQ(file.find("inf"), std::string::npos);
      }
    }
  }
}

TEST(ChartTest, AMillionValuesMakeASmallFileThatShowsTheExtremes) {
  Chart chart{.title = "t"};
  chart.series.push_back({});
  for (int i = 0; i < 1000000; ++i) {
    chart.series[0].x.push_back(i);
    chart.series[0].y.push_back(i == 500001 ? 100 : std::sin(i * 0.001));
  }
  const auto svg = svg_canvas(900, 500);
  draw_chart(*svg, chart, {0, 0, 900, 500});
  EXPECT_LT(svg->file().size(), 60000u);
  EXPECT_NE(svg->file().find(">100</text>"), std::string::npos);
}

}  // namespace
}  // namespace dsv3::plot
