#include "cli/imatrix_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "cli/units.h"

namespace dsv3::cli {
namespace {

using quantization::ImportanceMatrix;
using quantization::InputSquares;

// "blk.3" of "blk.3.ffn_up_exps.weight".
std::string layer_of(const std::string& name) {
  const size_t end = name.find('.', name.find('.') + 1);
  return name.substr(0, end);
}

bool by_layer(const std::string& a, const std::string& b) {
  const auto number = [](const std::string& name) {
    return name.starts_with("blk.") ? std::atoll(name.c_str() + 4) : INT64_MAX;
  };
  const auto x = number(a), y = number(b);
  return x != y ? x < y : a < b;
}

// Of one tensor, over its matrices that saw tokens.
struct Statistics {
  int64_t least_tokens = 0, most_tokens = 0;
  double mean = 0, most = 0;  // of x^2, over channels
  double share = 0;           // of the channels that matter: exp(entropy) / channels
};

Statistics statistics_of(const InputSquares& t) {
  Statistics s;
  const auto [least, most] = std::minmax_element(t.counts.begin(), t.counts.end());
  s.least_tokens = *least;
  s.most_tokens = *most;
  const size_t in = t.sums.size() / t.counts.size();
  size_t channels = 0;
  double total = 0, sum_log = 0;
  for (size_t i = 0; i < t.sums.size(); ++i) {
    const int64_t tokens = t.counts[i / in];
    if (tokens == 0) continue;
    ++channels;
    const double x = t.sums[i] / static_cast<double>(tokens);
    total += x;
    s.most = std::max(s.most, x);
    if (x > 0) sum_log += x * std::log(x);
  }
  if (total > 0) {
    s.mean = total / static_cast<double>(channels);
    s.share = std::exp(std::log(total) - sum_log / total) / static_cast<double>(channels);
  }
  return s;
}

}  // namespace

std::string importance_summary(const ImportanceMatrix& matrix) {
  // The three tensors of an expert see the same tokens.
  int64_t experts = 0, few = 0;
  std::map<std::string, std::vector<size_t>, decltype(&by_layer)> unseen(&by_layer);
  int64_t n_unseen = 0;
  for (const auto& [name, t] : matrix.tensors) {
    if (t.counts.size() == 1 || name.find("ffn_down_exps") == std::string::npos) continue;
    experts += static_cast<int64_t>(t.counts.size());
    for (size_t e = 0; e < t.counts.size(); ++e) {
      if (t.counts[e] == 0) {
        unseen[layer_of(name)].push_back(e);
        ++n_unseen;
      } else if (t.counts[e] < ImportanceMatrix::kEnoughTokens) {
        ++few;
      }
    }
  }
  std::string text;
  const auto line = [&](const char* name, const std::string& value) {
    text += fmt::format("{:<9} {}\n", name, value);
  };
  line("chunks", fmt::format("{} of {} tokens", with_commas(matrix.chunk_count),
                             with_commas(matrix.chunk_size)));
  line("tensors", with_commas(static_cast<int64_t>(matrix.tensors.size())));
  if (experts > 0) {
    line("experts",
         fmt::format("{} of {} saw no token, {} fewer than {}", with_commas(n_unseen),
                     with_commas(experts), with_commas(few), ImportanceMatrix::kEnoughTokens));
  }
  for (const auto& [layer, numbers] : unseen) {
    line("unseen", fmt::format("{}: {}", layer, fmt::join(numbers, ", ")));
  }
  return text;
}

std::string importance_table(const ImportanceMatrix& matrix) {
  std::vector<std::string> names;
  size_t width = 6;
  for (const auto& [name, t] : matrix.tensors) {
    names.push_back(name);
    width = std::max(width, name.size());
  }
  std::sort(names.begin(), names.end(), by_layer);
  std::string text = fmt::format("{:<{}}  {:>9}  {:>9}  {:>10}  {:>10}  {:>8}\n", "tensor", width,
                                 "tokens", "at least", "mean x^2", "largest", "channels");
  for (const std::string& name : names) {
    const Statistics s = statistics_of(matrix.tensors.at(name));
    text += fmt::format("{:<{}}  {:>9}  {:>9}  {:>10.4g}  {:>10.4g}  {:>6.1f} %\n", name, width,
                        s.most_tokens, s.least_tokens, s.mean, s.most, 100 * s.share);
  }
  return text;
}

}  // namespace dsv3::cli
