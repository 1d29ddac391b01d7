// Errors of the weight formats on normal and heavy-tailed weights, and the speed of encoding, as
// Markdown tables; beside ggml's encoders if given its library.
//
//     compare_block_formats [--ggml libggml-base.so.0] [--mib 4]
//
// Weights are rows of 4096 numbers (--mib of them as float32): normal ones, or Student's t with 3
// degrees of freedom, both times 0.02. Importances are the squares of log-normal numbers (sigma 1),
// one a channel. Errors are sqrt(sum w e^2 / sum w x^2) with the weights w that a table names.
#include <dlfcn.h>
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "formats/block_format.h"
#include "formats/float_formats.h"

namespace dsv3::formats {
namespace {

using Floats = std::vector<float>;
constexpr int64_t kRow = 4096;

struct Data {
  std::string name;
  Floats x;
};

std::vector<Data> make_data(int64_t n) {
  std::vector<Data> data{{"normal", {}}, {"student-t", {}}};
  std::mt19937_64 rng(1);
  std::normal_distribution<double> normal;
  std::student_t_distribution<double> student(3);
  for (int64_t i = 0; i < n; ++i) {
    data[0].x.push_back(static_cast<float>(0.02 * normal(rng)));
    data[1].x.push_back(static_cast<float>(0.02 * student(rng)));
  }
  return data;
}

Floats make_importance() {
  std::mt19937_64 rng(2);
  std::lognormal_distribution<double> distribution(0, 1);
  Floats importance;
  for (int64_t i = 0; i < kRow; ++i) {
    const double a = distribution(rng);
    importance.push_back(static_cast<float>(a * a));
  }
  return importance;
}

double error(const Floats& x, const Floats& y, const std::function<double(size_t)>& weight) {
  double e2 = 0, x2 = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double v = x[i], e = v - y[i];
    e2 += weight(i) * e * e;
    x2 += weight(i) * v * v;
  }
  return std::sqrt(e2 / x2);
}

using GgmlQuantize = size_t (*)(int type, const float* x, void* out, int64_t start, int64_t rows,
                                int64_t row, const float* importance);

struct Format {
  DType dtype;
  int ggml;  // its number there
};
constexpr Format kFormats[] = {
    {DType::kQ8_0, 8}, {DType::kQ6_K, 14},   {DType::kQ5_1, 7},  {DType::kQ5_K, 13},
    {DType::kQ5_0, 6}, {DType::kQ4_1, 3},    {DType::kQ4_K, 12}, {DType::kIQ4_NL, 20},
    {DType::kQ4_0, 2}, {DType::kIQ4_XS, 23}, {DType::kQ3_K, 11}, {DType::kQ2_K, 10},
};

double thread_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Encoded {
  Floats decoded;
  double mbs = 0;  // megabytes of float32 a second and thread, best of some turns
};

// Takes turns between ours and theirs.
std::pair<Encoded, Encoded> encode(const Format& f, const Floats& x, const float* importance,
                                   GgmlQuantize ggml) {
  const auto n = static_cast<int64_t>(x.size());
  const BlockFormat& format = block_format(f.dtype);
  std::vector<uint8_t> ours(dtype_bytes(f.dtype, n)), theirs(ours.size());
  double our_best = 1e30, their_best = 1e30;
  for (int turn = 0; turn < 3; ++turn) {
    const double begin = thread_seconds();
    for (int64_t r = 0; r < n; r += kRow) {
      format.encode(x.data() + r, kRow, importance, ours.data() + dtype_bytes(f.dtype, r));
    }
    const double middle = thread_seconds();
    if (ggml != nullptr) ggml(f.ggml, x.data(), theirs.data(), 0, n / kRow, kRow, importance);
    our_best = std::min(our_best, middle - begin);
    their_best = std::min(their_best, thread_seconds() - middle);
  }
  std::pair<Encoded, Encoded> result{{Floats(n), 4e-6 * static_cast<double>(n) / our_best},
                                     {Floats(n), 4e-6 * static_cast<double>(n) / their_best}};
  format.decode(ours.data(), n, result.first.decoded.data());
  format.decode(theirs.data(), n, result.second.decoded.data());
  return result;
}

// F16, BF16, and FP8 e4m3 with one scale for 16384 elements (128 x 128 in checkpoints).
Floats round_to(DType dtype, const Floats& x) {
  Floats y;
  float scale = 1;
  for (size_t i = 0; i < x.size(); ++i) {
    if (i % 16384 == 0) {
      float largest = 0;
      for (size_t k = i; k < std::min(i + 16384, x.size()); ++k) {
        largest = std::max(largest, std::fabs(x[k]));
      }
      scale = largest / kE4M3Max;
    }
    if (dtype == DType::kF16) {
      y.push_back(f16_to_float(float_to_f16(x[i])));
    } else if (dtype == DType::kBF16) {
      y.push_back(bf16_to_float(float_to_bf16(x[i])));
    } else {
      y.push_back(e4m3_to_float(float_to_e4m3(x[i] / scale)) * scale);
    }
  }
  return y;
}

std::string cell(double ours, std::optional<double> theirs) {
  return theirs ? fmt::format("{:.2f} ({:.2f})", 100 * ours, 100 * *theirs)
                : fmt::format("{:.2f}", 100 * ours);
}

// Errors in percent, "ours (ggml's)".
void print_errors(const std::vector<Data>& data, const Floats& importance, GgmlQuantize ggml) {
  fmt::print(
      "| format | bits | normal, w = 1 | w = abs(x) | student-t, w = 1 | w = abs(x) | normal, w = "
      "importance | student-t, w = importance | signal to noise, dB (normal / student-t) |\n"
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF8E4M3}) {
    fmt::print("| {} | {} |", dtype_name(dtype), 8 * dtype_size(dtype));
    std::string db;
    for (const Data& d : data) {
      const Floats y = round_to(dtype, d.x);
      const double plain = error(d.x, y, [](size_t) { return 1.0; });
      const double weighted = error(d.x, y, [&](size_t i) { return std::fabs(d.x[i]); });
      fmt::print(" {:.3f} | {:.3f} |", 100 * plain, 100 * weighted);
      db += fmt::format("{}{:.1f}", db.empty() ? "" : " / ", -20 * std::log10(plain));
    }
    fmt::print(" | | {} |\n", db);
  }
  for (const Format& f : kFormats) {
    const DTypeBlock block = dtype_block(f.dtype);
    fmt::print("| {} | {} |", dtype_name(f.dtype),
               8.0 * static_cast<double>(block.bytes) / static_cast<double>(block.elements));
    std::string db;
    const auto theirs_if = [&](double value) {
      return ggml == nullptr ? std::nullopt : std::optional(value);
    };
    for (const Data& d : data) {
      const auto [a, b] = encode(f, d.x, nullptr, ggml);
      const auto one = [](size_t) { return 1.0; };
      const auto magnitude = [&](size_t i) { return std::fabs(d.x[i]); };
      const double plain = error(d.x, a.decoded, one);
      fmt::print(
          " {} | {} |", cell(plain, theirs_if(error(d.x, b.decoded, one))),
          cell(error(d.x, a.decoded, magnitude), theirs_if(error(d.x, b.decoded, magnitude))));
      db += fmt::format("{}{:.1f}", db.empty() ? "" : " / ", -20 * std::log10(plain));
    }
    for (const Data& d : data) {
      const auto [a, b] = encode(f, d.x, importance.data(), ggml);
      const auto weight = [&](size_t i) { return importance[i % kRow]; };
      fmt::print(" {} |",
                 cell(error(d.x, a.decoded, weight), theirs_if(error(d.x, b.decoded, weight))));
    }
    fmt::print(" {} |\n", db);
  }
}

void print_speeds(const Data& data, const Floats& importance, GgmlQuantize ggml) {
  fmt::print(
      "\n| MB/s of float32 | ours | ggml | ours, importance | ggml, importance |\n"
      "| --- | ---: | ---: | ---: | ---: |\n");
  for (const Format& f : kFormats) {
    const auto [a, b] = encode(f, data.x, nullptr, ggml);
    const auto [c, d] = encode(f, data.x, importance.data(), ggml);
    if (ggml == nullptr) {
      fmt::print("| {} | {:.0f} | | {:.0f} | |\n", dtype_name(f.dtype), a.mbs, c.mbs);
    } else {
      fmt::print("| {} | {:.0f} | {:.0f} | {:.0f} | {:.0f} |\n", dtype_name(f.dtype), a.mbs, b.mbs,
                 c.mbs, d.mbs);
    }
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
      if (library != nullptr) {
        ggml = reinterpret_cast<GgmlQuantize>(dlsym(library, "ggml_quantize_chunk"));
      }
      if (ggml == nullptr) {
        fmt::print(stderr, "{}\n", dlerror());
        return 1;
      }
    } else if (std::strcmp(argv[i], "--mib") == 0) {
      mib = std::stoll(argv[i + 1]);
    }
  }
  const std::vector<Data> data = make_data(mib << 18);
  const Floats importance = make_importance();
  print_errors(data, importance, ggml);
  print_speeds(data[0], importance, ggml);
}
