#include "cli/units.h"

#include <fmt/format.h>

namespace dsv3::cli {

std::string with_commas(int64_t n) {
  std::string digits = std::to_string(n < 0 ? -n : n);
  for (auto i = static_cast<int64_t>(digits.size()) - 3; i > 0; i -= 3) {
    digits.insert(static_cast<size_t>(i), 1, ',');
  }
  return n < 0 ? "-" + digits : digits;
}

std::string short_count(int64_t n) {
  const auto x = static_cast<double>(n);
  if (n >= 1'000'000'000) return fmt::format("{:.2f} billion", x / 1e9);
  if (n >= 1'000'000) return fmt::format("{:.2f} million", x / 1e6);
  return with_commas(n);
}

std::string short_bytes(int64_t n) {
  const auto x = static_cast<double>(n);
  if (n >= 1'000'000'000'000) return fmt::format("{:.2f} TB", x / 1e12);
  if (n >= 1'000'000'000) return fmt::format("{:.1f} GB", x / 1e9);
  if (n >= 1'000'000) return fmt::format("{:.1f} MB", x / 1e6);
  if (n >= 10'000) return fmt::format("{:.1f} kB", x / 1e3);
  return fmt::format("{} bytes", with_commas(n));
}

std::string position_string(const Shape& shape, int64_t index) {
  Shape position(shape.size());
  for (size_t axis = shape.size(); axis-- > 0;) {
    position[axis] = index % shape[axis];
    index /= shape[axis];
  }
  return shape_string(position);
}

}  // namespace dsv3::cli
