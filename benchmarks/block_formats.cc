// Errors of every weight format on normal and heavy-tailed weights, and the speed of encoding;
// beside ggml's encoders if given its library. Prints Markdown tables.
//
//     compare_block_formats [--ggml libggml-base.so] [--mib 16]
//
// Weights are rows of 4096 numbers: normal ones, or Student's t with 3 degrees of freedom. With
// importance, each channel's is the square of a log-normal number (sigma 1), as activations have.
#include <dlfcn.h>
#include <fmt/format.h>
#include <time.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "formats/block_format.h"
#include "formats/float_formats.h"

namespace dsv3::formats {
namespace {

constexpr int64_t kRow = 4096;

double thread_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Data {
  std::string name;
  std::vector<float> x;
};

std::vector<Data> make_data(int64_t n) {
  std::vector<Data> data(2);
  std::mt19937_64 rng(1);
  std::normal_distribution<double> normal;
  std::student_t_distribution<double> student(3);
  data[0].name = "normal";
  for (int64_t i = 0; i < n; ++i) data[0].x.push_back(static_cast<float>(0.02 * normal(rng)));
  data[1].name = "student-t 3";
  for (int64_t i = 0; i < n; ++i) data[1].x.push_back(static_cast<float>(0.02 * student(rng)));
  return data;
}

std::vector<float> make_importance() {
  std::mt19937_64 rng(2);
  std::lognormal_distribution<double> distribution(0, 1);
  std::vector<float> importance;
  for (int64_t i = 0; i < kRow; ++i) {
    const double a = distribution(rng);
    importance.push_back(static_cast<float>(a * a));
  }
  return importance;
}

struct Errors {
  double plain = 0;     // sqrt(sum e^2 / sum x^2)
  double weighted = 0;  // with the channel's importance, or |x|
  double large = 0;     // with importance * sqrt(2 mean x^2 + x^2), or x^2
};

Errors errors_of(const std::vector<float>& x, const std::vector<float>& y,
                 const float* importance) {
  double sums[3][2] = {}, mean = 0;
  for (const float v : x) mean += double{v} * v / static_cast<double>(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double v = x[i], e = v - y[i];
    const double w = importance == nullptr ? std::fabs(v) : importance[i % kRow];
    const double large = importance == nullptr ? v * v : w * std::sqrt(2 * mean + v * v);
    for (const auto& [k, weight] : {std::pair{0, 1.0}, {1, w}, {2, large}}) {
      sums[k][0] += weight * e * e;
      sums[k][1] += weight * v * v;
    }
  }
  const auto ratio = [&](int k) { return std::sqrt(sums[k][0] / sums[k][1]); };
  return {ratio(0), ratio(1), ratio(2)};
}

using GgmlQuantize = size_t (*)(int type, const float* x, void* out, int64_t start, int64_t rows,
                                int64_t row, const float* importance);

struct Format {
  DType dtype;
  int ggml;
};
constexpr Format kFormats[] = {
    {DType::kQ8_0, 8}, {DType::kQ6_K, 14},   {DType::kQ5_1, 7},  {DType::kQ5_K, 13},
    {DType::kQ5_0, 6}, {DType::kQ4_1, 3},    {DType::kQ4_K, 12}, {DType::kIQ4_NL, 20},
    {DType::kQ4_0, 2}, {DType::kIQ4_XS, 23}, {DType::kQ3_K, 11}, {DType::kQ2_K, 10},
};

// Megabytes of float32 a second, best of the turns.
struct Turn {
  double seconds = 1e30;
  void run(const std::function<void()>& f) {
    const double begin = thread_seconds();
    f();
    seconds = std::min(seconds, thread_seconds() - begin);
  }
  double mbs(size_t n) const { return static_cast<double>(n) * 4e-6 / seconds; }
};

void compare(const Data& data, const float* importance, GgmlQuantize ggml) {
  const auto n = static_cast<int64_t>(data.x.size());
  for (const Format& f : kFormats) {
    const BlockFormat& format = block_format(f.dtype);
    std::vector<uint8_t> ours(dtype_bytes(f.dtype, n)), theirs(ours.size());
    Turn our_turn, their_turn;
    for (int turn = 0; turn < 3; ++turn) {
      our_turn.run([&] {
        for (int64_t r = 0; r < n; r += kRow) {
          format.encode(data.x.data() + r, kRow, importance, ours.data() + dtype_bytes(f.dtype, r));
        }
      });
      if (ggml == nullptr) continue;
      their_turn.run(
          [&] { ggml(f.ggml, data.x.data(), theirs.data(), 0, n / kRow, kRow, importance); });
    }
    std::vector<float> y(n), z(n);
    format.decode(ours.data(), n, y.data());
    format.decode(theirs.data(), n, z.data());
    const Errors a = errors_of(data.x, y, importance), b = errors_of(data.x, z, importance);
    const auto percent = [](double ours_is, double theirs_is) {
      return theirs_is == 0 ? 0.0 : 100 * (ours_is / theirs_is - 1);
    };
    fmt::print(
        "| {} | {} | {:.5f} | {:.5f} | {:+.2f}% | {:.5f} | {:.5f} | {:+.2f}% | {:+.2f}% | {:.0f} | "
        "{:.0f} |\n",
        dtype_name(f.dtype), data.name, a.plain, b.plain, percent(a.plain, b.plain), a.weighted,
        b.weighted, percent(a.weighted, b.weighted), percent(a.large, b.large), our_turn.mbs(n),
        ggml == nullptr ? 0.0 : their_turn.mbs(n));
  }
}

}  // namespace
}  // namespace dsv3::formats

int main(int argc, char** argv) {
  using namespace dsv3::formats;
  GgmlQuantize ggml = nullptr;
  int64_t mib = 4;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--ggml") == 0) {
      void* library = dlopen(argv[i + 1], RTLD_NOW);
      if (library == nullptr) {
        fmt::print(stderr, "{}\n", dlerror());
        return 1;
      }
      ggml = reinterpret_cast<GgmlQuantize>(dlsym(library, "ggml_quantize_chunk"));
    } else if (std::strcmp(argv[i], "--mib") == 0) {
      mib = std::stoll(argv[i + 1]);
    }
  }
  const auto data = make_data(mib << 18);
  const auto importance = make_importance();
  for (const float* imp : {static_cast<const float*>(nullptr), importance.data()}) {
    fmt::print("\n{} importance\n\n", imp == nullptr ? "without" : "with");
    for (const Data& d : data) compare(d, imp, ggml);
  }
}
