#include "cli/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/json.h"
#include "benchmark/statistics.h"
#include "cli/console.h"
#include "cli/units.h"
#include "kernels/variants.h"

namespace dsv3::cli {
namespace {

using benchmark::Limits;
using benchmark::Measurement;
using benchmark::Peak;
using benchmark::summarize;
using benchmark::Summary;

/// Four significant digits at most, without an exponent.
std::string short_number(double x) {
  return fmt::format("{:.{}f}", x, x >= 100 ? 0 : x >= 10 ? 1 : x >= 1 ? 2 : 3);
}

std::string percent(double share) { return share > 0 ? fmt::format("{:.0f} %", 100 * share) : ""; }

/// "6.94 B"
std::string short_parameters(int64_t n) {
  const auto x = static_cast<double>(n);
  return n >= 1'000'000'000 ? fmt::format("{:.2f} B", x / 1e9) : fmt::format("{:.1f} M", x / 1e6);
}

double total(const std::array<int64_t, profile::kOps>& times) {
  return static_cast<double>(std::accumulate(times.begin(), times.end(), int64_t{0}));
}

/// For JSON.
Json by_name(const std::array<int64_t, profile::kOps>& times) {
  Json json = Json::object();
  for (size_t i = 0; i < times.size(); ++i) {
    json[std::string(profile::op_name(static_cast<profile::Op>(i)))] = times[i];
  }
  return json;
}

class MarkdownReport : public BenchReport {
 public:
  void begin(const std::vector<std::string>& models, const std::vector<std::string>& tests,
             const std::vector<Limits>& limits) override {
    const auto longest = [](const std::vector<std::string>& names) {
      size_t n = 0;
      for (const std::string& name : names) n = std::max(n, name.size());
      return n;
    };
    for (const Limits& l : limits) write_out(limits_line(l));
    if (!limits.empty()) write_out("\n");
    columns_ = {{"model", longest(models), true},
                {"size", 8},
                {"params", 8},
                {"threads", 7},
                {"test", longest(tests), true},
                {"tokens/s", 8},
                {"min .. max", 16},
                {"GB/s", 6},
                {"% of read", 9},
                {"TFLOP/s", 7},
                {"% of peak", 9}};
    std::vector<std::string> names, rule;
    for (Column& c : columns_) {
      c.width = std::max(c.width, c.name.size());
      names.push_back(c.name);
      rule.push_back(c.left ? std::string(c.width, '-') : std::string(c.width - 1, '-') + ":");
    }
    row(names);
    row(rule);
  }

  void add(const BenchModel& model, const Measurement& m, const Limits* limits) override {
    const Summary s = summarize(m.rates());
    const BenchSpeed speed = speed_of(m, model, limits);
    row({model.name, short_bytes(model.bytes), short_parameters(model.parameters),
         std::to_string(m.what.threads), m.what.name(), short_number(s.median),
         short_number(s.min) + " .. " + short_number(s.max),
         short_number(speed.read_per_second / 1e9), percent(speed.read_share),
         short_number(speed.operations_per_second / 1e12), percent(speed.peak_share)});
    flush_out();
    if (m.profile) profiles_ += profile_table(model, m);
  }

  void end() override { write_out(profiles_); }

 private:
  struct Column {
    std::string name;
    size_t width;
    bool left = false;
  };

  static std::string limits_line(const Limits& l) {
    std::string line =
        fmt::format("{} thread{}: reads {} GB/s from memory", l.threads, l.threads == 1 ? "" : "s",
                    short_number(l.read_bytes_per_second / 1e9));
    for (const Peak& peak : l.peaks) {
      line += fmt::format(", {} {} {}", peak.name, short_number(peak.per_second / 1e12),
                          peak.integer ? "TOP/s" : "TFLOP/s");
    }
    return line + "\n";
  }

  void row(const std::vector<std::string>& cells) const {
    std::string line = "|";
    for (size_t i = 0; i < cells.size(); ++i) {
      line += columns_[i].left ? fmt::format(" {:<{}} |", cells[i], columns_[i].width)
                               : fmt::format(" {:>{}} |", cells[i], columns_[i].width);
    }
    write_out(line + "\n");
  }

  static std::string profile_table(const BenchModel& model, const Measurement& m) {
    const profile::Times& times = *m.profile;
    const double all = total(times.all);
    const auto ms = [&](double ns) { return ns / 1e6 / static_cast<double>(m.passes); };
    std::string text = fmt::format(
        "\n{}, {}, {} thread{}: a forward pass takes {:.3f} ms, {:.1f} % of it waiting for other "
        "threads\n\n",
        model.name, m.what.name(), m.what.threads, m.what.threads == 1 ? "" : "s", ms(all),
        100 * total(times.waiting) / all);
    text += fmt::format("| {:<14} | {:>9} | {:>7} | {:>11} |\n", "operator", "ms", "share",
                        "waiting, ms");
    text += fmt::format("| {:-<14} | {:->9} | {:->7} | {:->11} |\n", "", ":", ":", ":");
    std::vector<profile::Op> sorted;
    for (int i = 0; i < profile::kOps; ++i) sorted.push_back(static_cast<profile::Op>(i));
    std::stable_sort(sorted.begin(), sorted.end(),
                     [&](profile::Op a, profile::Op b) { return times.of(a) > times.of(b); });
    for (const profile::Op op : sorted) {
      const auto ns = static_cast<double>(times.of(op));
      if (ns == 0) continue;
      text += fmt::format("| {:<14} | {:>9.3f} | {:>5.1f} % | {:>11.3f} |\n", profile::op_name(op),
                          ms(ns), 100 * ns / all, ms(static_cast<double>(times.waiting_in(op))));
    }
    return text;
  }

  std::vector<Column> columns_;
  std::string profiles_;
};

/// Names of llama-bench where it has the same thing.
Json result_json(const BenchModel& model, const Measurement& m, const Limits* limits) {
  const std::vector<double> rates = m.rates();
  const Summary s = summarize(rates), time = summarize(m.seconds);
  const BenchSpeed speed = speed_of(m, model, limits);
  Json json = {{"model_filename", model.path},
               {"model_type", model.name},
               {"weight_type", model.type},
               {"model_size", model.bytes},
               {"model_n_params", model.parameters},
               {"active_parameters", model.active_parameters},
               {"cache_type", model.cache_type},
               {"precision", model.precision},
               {"kernels", kernels::current_variant()},
               {"test", m.what.name()},
               {"n_threads", m.what.threads},
               {"n_prompt", m.what.prompt},
               {"n_gen", m.what.generated},
               {"n_depth", m.what.depth},
               {"n_sequences", m.what.batch},
               {"median_ts", s.median},
               {"min_ts", s.min},
               {"max_ts", s.max},
               {"lower_quartile_ts", s.lower_quartile},
               {"upper_quartile_ts", s.upper_quartile},
               {"avg_ts", s.mean},
               {"stddev_ts", s.standard_deviation},
               {"avg_ns", time.mean * 1e9},
               {"stddev_ns", time.standard_deviation * 1e9},
               {"samples_ns", Json::array()},
               {"samples_ts", rates},
               {"passes", m.passes},
               {"weight_bytes_read", m.work.weight_bytes},
               {"cache_bytes_read", m.work.cache_bytes},
               {"operations", m.work.operations},
               {"read_bytes_per_second", speed.read_per_second},
               {"operations_per_second", speed.operations_per_second}};
  for (const double x : m.seconds) json["samples_ns"].push_back(static_cast<int64_t>(x * 1e9));
  if (limits != nullptr) {
    json["read_share"] = speed.read_share;
    json["peak_share"] = speed.peak_share;
    json["peak"] = speed.peak_name;
  }
  return json;
}

Json limits_json(const Limits& l) {
  Json json = {{"n_threads", l.threads},
               {"read_bytes_per_second", l.read_bytes_per_second},
               {"peaks", Json::array()}};
  for (const Peak& peak : l.peaks) {
    json["peaks"].push_back({{"name", peak.name},
                             {"operations_per_second", peak.per_second},
                             {"integer", peak.integer}});
  }
  return json;
}

class JsonReport : public BenchReport {
 public:
  void begin(const std::vector<std::string>&, const std::vector<std::string>&,
             const std::vector<Limits>& limits) override {
    json_ = {{"version", DSV3_VERSION}, {"limits", Json::array()}, {"results", Json::array()}};
    for (const Limits& l : limits) json_["limits"].push_back(limits_json(l));
  }
  void add(const BenchModel& model, const Measurement& m, const Limits* limits) override {
    Json result = result_json(model, m, limits);
    if (m.profile) {
      result["profile_ns"] = by_name(m.profile->all);
      result["profile_waiting_ns"] = by_name(m.profile->waiting);
    }
    json_["results"].push_back(std::move(result));
  }
  void end() override {
    write_out(json_.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  }

 private:
  Json json_;
};

class CsvReport : public BenchReport {
 public:
  void begin(const std::vector<std::string>&, const std::vector<std::string>&,
             const std::vector<Limits>&) override {}
  void add(const BenchModel& model, const Measurement& m, const Limits* limits) override {
    std::string names, values;
    const Json json = result_json(model, m, limits);
    for (const auto& [name, value] : json.items()) {
      if (value.is_array()) continue;
      names += (names.empty() ? "" : ",") + name;
      std::string text = value.is_string() ? value.get<std::string>() : value.dump();
      for (size_t at = 0; (at = text.find('"', at)) != std::string::npos; at += 2) {
        text.insert(at, 1, '"');
      }
      values += fmt::format("{}\"{}\"", values.empty() ? "" : ",", text);
    }
    if (!header_) write_out(names + "\n");
    header_ = true;
    write_out(values + "\n");
    flush_out();
  }
  void end() override {}

 private:
  bool header_ = false;
};

}  // namespace

BenchSpeed speed_of(const Measurement& m, const BenchModel& model, const Limits* limits) {
  const double seconds = summarize(m.seconds).median;
  BenchSpeed speed{.read_per_second = m.work.bytes() / seconds,
                   .operations_per_second = m.work.operations / seconds,
                   .read_share = 0,
                   .peak_share = 0,
                   .peak_name = {}};
  if (limits == nullptr) return speed;
  const Peak& peak = limits->best(model.integers_apply);
  speed.read_share = speed.read_per_second / limits->read_bytes_per_second;
  speed.peak_share = speed.operations_per_second / peak.per_second;
  speed.peak_name = peak.name;
  return speed;
}

std::unique_ptr<BenchReport> bench_report(std::string_view form) {
  if (form == "json") return std::make_unique<JsonReport>();
  if (form == "csv") return std::make_unique<CsvReport>();
  return std::make_unique<MarkdownReport>();
}

}  // namespace dsv3::cli
