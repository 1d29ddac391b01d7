#include "cli/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <span>

#include "cli/units.h"
#include "formats/convert.h"

namespace dsv3::cli {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// "logits" of "logits.3".
std::string kind_of(const std::string& name) { return name.substr(0, name.find('.')); }

/// Which rows (along the last axis) count: compare_mask [batch, columns] has 0 for positions of
/// padding.
class RowMask {
 public:
  RowMask(const Tensors& expected, const std::string& name, const Shape& shape) {
    const auto chunk =
        expected.find("compare_mask" + name.substr(std::min(name.find('.'), name.size())));
    const auto whole = expected.find("compare_mask");
    const auto it = name.starts_with("logits.") && chunk != expected.end() ? chunk : whole;
    if (it == expected.end() || shape.size() < 3) return;
    columns_ = shape[shape.size() - 2];
    heads_ = shape.size() == 4 ? shape[1] : 1;  // attentions: [batch, heads, columns, keys]
    if (it->second.rank() == 2 && it->second.dim(0) == shape[0] && it->second.dim(1) == columns_)
      mask_ = it->second;
  }
  bool counts(int64_t row) const {
    if (!mask_.defined()) return true;
    return mask_.as<int64_t>()[row / (columns_ * heads_) * columns_ + row % columns_] != 0;
  }

 private:
  Tensor mask_;
  int64_t columns_ = 1, heads_ = 1;
};

std::vector<int64_t> top(std::span<const float> row, size_t n) {
  std::vector<int64_t> ids(row.size());
  std::iota(ids.begin(), ids.end(), int64_t{0});
  n = std::min(n, ids.size());
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n), ids.end(),
                    [&](int64_t a, int64_t b) {
                      const float x = row[static_cast<size_t>(a)], y = row[static_cast<size_t>(b)];
                      return x != y ? x > y : a < b;
                    });
  ids.resize(n);
  return ids;
}

double log_sum_exp(std::span<const float> row) {
  const double largest = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float x : row) sum += std::exp(x - largest);
  return largest + std::log(sum);
}

double divergence(std::span<const float> expected, std::span<const float> found) {
  const double p_norm = log_sum_exp(expected), q_norm = log_sum_exp(found);
  double sum = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double log_p = expected[i] - p_norm;
    sum += std::exp(log_p) * (log_p - (found[i] - q_norm));
  }
  return std::max(0.0, sum);  // rounding may take it below
}

void add_row(LogitsAgreement& sum, std::span<const float> expected, std::span<const float> found) {
  std::vector<int64_t> a = top(expected, 8), b = top(found, 8);
  sum.top1 += a[0] == b[0] ? 1 : 0;
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  std::vector<int64_t> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  sum.top8 += static_cast<double>(both.size()) / static_cast<double>(a.size());
  sum.kl += divergence(expected, found);
}

/// Elements of a kind that are compared together: some of them may be far off.
struct Outliers {
  int64_t compared = 0, outside = 0;
};

void compare_floats(Comparison& c, std::span<const float> expected, std::span<const float> found,
                    const RowMask& mask, const Json& tolerance, Outliers& outliers) {
  const int64_t width = c.shape.empty() ? 1 : c.shape.back();
  const int64_t rows = width == 0 ? 0 : static_cast<int64_t>(expected.size()) / width;
  const bool has_tolerance = tolerance.is_object();
  const double atol = has_tolerance ? tolerance.at("atol").get<double>() : 0;
  const double rtol = has_tolerance ? tolerance.at("rtol").get<double>() : 0;
  const bool logits = kind_of(c.name) == "logits" || c.name == "mtp_logits";
  // A few elements of parameters after Adam's steps are arbitrary: all may be off by as much.
  const double outlier_atol = has_tolerance ? tolerance.value("outlier_atol", 0.0) : 0;
  double dot = 0, expected_norm = 0, found_norm = 0, error_norm = 0, worst_share = 0;
  LogitsAgreement agreement;
  int64_t compared_rows = 0;
  for (int64_t row = 0; row < rows; ++row) {
    if (!mask.counts(row)) continue;
    ++compared_rows;
    for (int64_t i = row * width; i < (row + 1) * width; ++i) {
      const double x = expected[static_cast<size_t>(i)], y = found[static_cast<size_t>(i)];
      const bool same = x == y || (std::isnan(x) && std::isnan(y));
      const double difference = std::fabs(y - x), error = same                     ? 0
                                                          : std::isnan(difference) ? kInfinity
                                                                                   : difference;
      double allowed = atol + rtol * std::fabs(x);
      if (outlier_atol > 0) {
        ++outliers.compared;
        outliers.outside += error > allowed ? 1 : 0;
        allowed = outlier_atol;
      }
      if (error > 0) worst_share = std::max(worst_share, allowed > 0 ? error / allowed : kInfinity);
      if (error > c.largest_error || c.at < 0) {
        c.largest_error = error;
        c.at = i;
        c.expected = x;
        c.found = y;
      }
      dot += x * y;
      expected_norm += x * x;
      found_norm += y * y;
      error_norm += error * error;
    }
    if (logits) {
      add_row(agreement,
              expected.subspan(static_cast<size_t>(row * width), static_cast<size_t>(width)),
              found.subspan(static_cast<size_t>(row * width), static_cast<size_t>(width)));
    }
  }
  c.compared = compared_rows * width;
  const double norms = std::sqrt(expected_norm) * std::sqrt(found_norm);
  c.cosine = norms > 0 ? dot / norms : expected_norm == found_norm ? 1 : 0;
  if (has_tolerance && tolerance.contains("relative_frobenius") && expected_norm > 0) {
    const double relative = std::sqrt(error_norm / expected_norm);
    worst_share = std::max(worst_share, relative / tolerance["relative_frobenius"].get<double>());
  }
  if (has_tolerance) c.share_of_tolerance = worst_share;
  if (logits && compared_rows > 0) {
    const auto n = static_cast<double>(compared_rows);
    c.logits = LogitsAgreement{agreement.top1 / n, agreement.top8 / n, agreement.kl / n};
  }
}

void compare_integers(Comparison& c, std::span<const int64_t> expected,
                      std::span<const int64_t> found) {
  c.compared = static_cast<int64_t>(expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == found[i]) continue;
    c.problem = fmt::format("element {}: expected {}, found {}", i, expected[i], found[i]);
    return;
  }
}

}  // namespace

std::string Comparison::to_text() const {
  std::string text = fmt::format("{} {}: ", name, shape_string(shape));
  if (!problem.empty()) return text + "WRONG, " + problem;
  if (at < 0) return text + "equal";
  text += fmt::format("largest error {:.3g} at {} (expected {:.7g}, found {:.7g}), cosine {:.9f}",
                      largest_error, position_string(shape, at), expected, found, cosine);
  if (share_of_tolerance) {
    text +=
        fmt::format(", {:.3g} of the tolerance: {}", *share_of_tolerance, good() ? "ok" : "WRONG");
  }
  if (logits) {
    text += fmt::format(
        "\n  likeliest token the same in {:.2f} %, of the 8 likeliest {:.2f} %, mean KL {:.3g}",
        100 * logits->top1, 100 * logits->top8, logits->kl);
  }
  return text;
}

std::vector<Comparison> compare(const Tensors& found, const Tensors& expected,
                                const Json& tolerance) {
  std::vector<Comparison> comparisons;
  std::map<std::string, Outliers> outliers;  // by kind
  for (const auto& [name, wanted] : expected) {
    const std::string kind = kind_of(name);
    if (kind == "compare_mask") continue;
    Comparison& c = comparisons.emplace_back();
    c.name = name;
    c.shape = wanted.shape();
    const auto it = found.find(name);
    if (it == found.end()) {
      c.problem = "not among the results";
    } else if (it->second.shape() != wanted.shape()) {
      c.problem = fmt::format("found {}", shape_string(it->second.shape()));
    } else if (wanted.dtype() == DType::kI64 && it->second.dtype() == DType::kI64) {
      compare_integers(c, wanted.as<int64_t>(), it->second.as<int64_t>());
    } else {
      const Json allowed = tolerance.is_object() ? tolerance.value(kind, Json()) : Json();
      const Tensor x = formats::to_f32(wanted), y = formats::to_f32(it->second);
      compare_floats(c, x.as<float>(), y.as<float>(), RowMask(expected, name, c.shape), allowed,
                     outliers[kind]);
    }
  }
  for (const auto& [kind, count] : outliers) {
    if (count.compared == 0) continue;
    Comparison& c = comparisons.emplace_back();
    c.name = kind + ", share of outliers";
    c.compared = count.compared;
    c.at = 0;
    c.found = c.largest_error =
        static_cast<double>(count.outside) / static_cast<double>(count.compared);
    c.share_of_tolerance = c.found / tolerance[kind]["max_outlier_fraction"].get<double>();
  }
  return comparisons;
}

}  // namespace dsv3::cli
