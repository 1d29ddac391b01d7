#include "quantization/imatrix.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.h"

namespace dsv3::quantization {
namespace {

int64_t count_of(const InputSquares& t, int64_t matrix) {
  return t.counts.size() == 1 ? t.counts[0] : t.counts[static_cast<size_t>(matrix)];
}

// The older files have the same number in all channels of an expert that saw no token.
bool is_flat(const double* sums, int64_t in) {
  return in > 1 && std::all_of(sums, sums + in, [&](double x) { return x == sums[0]; });
}

// Sums of squares of `in` channels and the tokens that they are of.
struct Sums {
  std::vector<double> values;
  int64_t tokens = 0;
};

Sums sums_of(const InputSquares& t, int64_t matrix, int64_t in) {
  const double* sums = t.sums.data() + matrix * in;
  if (is_flat(sums, in)) return {std::vector<double>(in, 0.0), 0};
  return {{sums, sums + in}, count_of(t, matrix)};
}

Sums sums_of_all(const InputSquares& t, int64_t in) {
  Sums all{std::vector<double>(in, 0.0), 0};
  for (int64_t m = 0; m * in < static_cast<int64_t>(t.sums.size()); ++m) {
    const Sums one = sums_of(t, m, in);
    for (int64_t i = 0; i < in; ++i) all.values[i] += one.values[i];
    all.tokens += one.tokens;
  }
  return all;
}

std::vector<float> means_of(const Sums& s) {
  const bool has_any =
      s.tokens > 0 && std::any_of(s.values.begin(), s.values.end(), [](double x) { return x > 0; });
  if (!has_any) return {};
  std::vector<float> means(s.values.size());
  for (size_t i = 0; i < means.size(); ++i) {
    means[i] = static_cast<float>(s.values[i] / static_cast<double>(s.tokens));
  }
  return means;
}

// The tensor with `from` in its name replaced.
std::optional<std::string> renamed(std::string_view name, std::string_view from,
                                   std::string_view to) {
  const size_t at = name.find(from);
  if (at == std::string_view::npos) return std::nullopt;
  std::string other(name);
  return other.replace(at, from.size(), to);
}

// One count for each of so many matrices.
void spread_counts(InputSquares& t, size_t matrices) {
  if (t.counts.size() == 1) t.counts.resize(matrices, t.counts[0]);
}

}  // namespace

std::vector<float> ImportanceMatrix::importance(std::string_view name, const Shape& shape,
                                                int64_t matrix) const {
  const int64_t in = shape.back(), matrices = shape.size() == 3 ? shape[0] : 1;
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    // The latents go into attn_kv_b as they are, and into attn_v_b as each head weights them.
    if (const auto other = renamed(name, "attn_v_b", "attn_kv_b"); other && shape.size() == 3) {
      return tensors.contains(*other) ? importance(*other, {shape[1], in}, 0)
                                      : std::vector<float>();
    }
    if (const auto other = renamed(name, "attn_kv_b", "attn_v_b")) {
      const auto halves = tensors.find(*other);
      if (halves == tensors.end()) return {};
      if (static_cast<int64_t>(halves->second.sums.size()) % in == 0) {
        return means_of(sums_of_all(halves->second, in));
      }
    }
    return {};
  }
  const InputSquares& t = found->second;
  if (static_cast<int64_t>(t.sums.size()) != matrices * in ||
      (t.counts.size() != 1 && static_cast<int64_t>(t.counts.size()) != matrices)) {
    fail(
        "importance matrix: '{}' has {} sums of squares and {} counts, expected {} and 1 or {} for "
        "a tensor {}: it is not of this model",
        name, t.sums.size(), t.counts.size(), matrices * in, matrices, shape_string(shape));
  }
  Sums own = sums_of(t, matrix, in);
  if (own.tokens >= kEnoughTokens || matrices == 1) return means_of(own);
  const std::vector<float> average = means_of(sums_of_all(t, in));
  if (average.empty()) return {};
  const auto missing = static_cast<double>(kEnoughTokens - own.tokens);
  for (int64_t i = 0; i < in; ++i) own.values[i] += missing * double{average[i]};
  own.tokens = kEnoughTokens;
  return means_of(own);
}

void ImportanceMatrix::add(const ImportanceMatrix& other) {
  const auto fits = [](const InputSquares& a, const InputSquares& b) {
    return a.sums.size() == b.sums.size() &&
           (a.counts.size() == b.counts.size() || a.counts.size() == 1 || b.counts.size() == 1);
  };
  for (const auto& [name, theirs] : other.tensors) {
    const auto mine = tensors.find(name);
    if (mine == tensors.end() || fits(mine->second, theirs)) continue;
    fail(
        "importance matrices of two models: '{}' has {} sums of squares and {} counts in one, {} "
        "and {} in the other",
        name, mine->second.sums.size(), mine->second.counts.size(), theirs.sums.size(),
        theirs.counts.size());
  }
  for (const auto& [name, theirs] : other.tensors) {
    const auto [mine, is_new] = tensors.try_emplace(name, theirs);
    if (is_new) continue;
    InputSquares& t = mine->second;
    spread_counts(t, theirs.counts.size());
    for (size_t i = 0; i < t.sums.size(); ++i) t.sums[i] += theirs.sums[i];
    for (size_t i = 0; i < t.counts.size(); ++i) {
      t.counts[i] += count_of(theirs, static_cast<int64_t>(i));
    }
  }
  datasets.insert(datasets.end(), other.datasets.begin(), other.datasets.end());
  if (chunk_size == 0) chunk_size = other.chunk_size;
  if (chunk_size > 0) chunk_count += other.chunk_count * other.chunk_size / chunk_size;
}

}  // namespace dsv3::quantization
