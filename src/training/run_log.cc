#include "training/run_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace dsv3::training {
namespace {

/// The first integer of a line.
std::optional<int64_t> step_of(std::string_view line) {
  const size_t at = line.find_first_of("0123456789");
  if (at == line.npos) return std::nullopt;
  int64_t step = 0;
  const auto parsed = std::from_chars(line.data() + at, line.data() + line.size(), step);
  return parsed.ec == std::errc() ? std::optional(step) : std::nullopt;
}

/// Where what is to be kept ends.
size_t kept_bytes(std::string_view text, size_t begin, int64_t last_step) {
  while (begin < text.size()) {
    const size_t end = text.find('\n', begin);
    if (end == text.npos) break;
    const auto step = step_of(text.substr(begin, end - begin));
    if (!step || *step > last_step) break;
    begin = end + 1;
  }
  return begin;
}

std::string metrics_header(int64_t mtp_depths, const std::vector<int64_t>& moe_layers) {
  std::string header = "step,tokens,windows,loss,balance_loss";
  for (int64_t d = 1; d <= mtp_depths; ++d) header += fmt::format(",mtp_loss_{}", d);
  header += ",learning_rate,bias_update_speed,mtp_loss_weight,grad_norm,skipped";
  for (const int64_t layer : moe_layers) header += fmt::format(",max_violation_{}", layer);
  return header + ",tokens_per_second,mfu,seconds";
}

std::string validation_header(int64_t mtp_depths) {
  std::string header = "step,tokens,loss";
  for (int64_t d = 1; d <= mtp_depths; ++d) header += fmt::format(",mtp_loss_{}", d);
  return header;
}

}  // namespace

StepLines::StepLines(std::filesystem::path path, const std::string& header, int64_t last_step)
    : path_(std::move(path)) {
  const std::string first = header.empty() ? "" : header + "\n";
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0) fail("{}: cannot open: {}", path_.string(), std::strerror(errno));
  try {
    const std::string text = read_file(path_);
    const bool whole_header = text.size() >= first.size();
    if (text.compare(0, first.size(), first, 0, whole_header ? first.npos : text.size()) != 0) {
      fail("{}: expected the header '{}', found '{}'", path_.string(), header,
           text.substr(0, std::min<size_t>(text.find('\n'), 200)));
    }
    const size_t kept = whole_header ? kept_bytes(text, first.size(), last_step) : 0;
    if (kept < text.size() && ::ftruncate(fd_, static_cast<off_t>(kept)) != 0) {
      fail("{}: cannot shorten: {}", path_.string(), std::strerror(errno));
    }
    if (!whole_header || text.empty()) append_all(fd_, first, path_);
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

StepLines::~StepLines() { ::close(fd_); }

void StepLines::add(const std::string& line) { append_all(fd_, line + "\n", path_); }

void StepLines::sync() {
  if (::fsync(fd_) != 0) fail("{}: cannot sync: {}", path_.string(), std::strerror(errno));
}

RunLog::RunLog(const std::filesystem::path& folder, int64_t last_step, int64_t mtp_depths,
               const std::vector<int64_t>& moe_layers)
    : moe_layers_(moe_layers),
      metrics_(folder / "metrics.csv", metrics_header(mtp_depths, moe_layers), last_step),
      validation_(folder / "validation.csv", validation_header(mtp_depths), last_step),
      expert_load_(folder / "expert_load.jsonl", "", last_step),
      samples_(folder / "samples.jsonl", "", last_step),
      events_(folder, last_step + 1) {}

void RunLog::add_step(const StepRecord& record, bool with_expert_load) {
  const StepReport& report = record.report;
  std::vector<std::pair<std::string, double>> scalars = {{"loss/train", report.loss},
                                                         {"loss/balance", report.balance_loss}};
  std::string line = fmt::format("{},{},{},{},{}", record.step, record.tokens, record.windows,
                                 report.loss, report.balance_loss);
  for (size_t d = 0; d < report.mtp_losses.size(); ++d) {
    line += fmt::format(",{}", report.mtp_losses[d]);
    scalars.emplace_back(fmt::format("loss/mtp_{}", d + 1), report.mtp_losses[d]);
  }
  line += fmt::format(",{},{},{},{},{}", record.settings.learning_rate,
                      record.settings.bias_update_speed, record.settings.mtp_loss_weight,
                      report.grad_norm, record.skipped ? 1 : 0);
  scalars.emplace_back("schedule/learning_rate", record.settings.learning_rate);
  scalars.emplace_back("schedule/bias_update_speed", record.settings.bias_update_speed);
  scalars.emplace_back("schedule/mtp_loss_weight", record.settings.mtp_loss_weight);
  scalars.emplace_back("schedule/windows", static_cast<double>(record.windows));
  scalars.emplace_back("gradient/norm", report.grad_norm);
  // A step that was given up may have no loads, or those of some layers only.
  for (size_t i = 0; i < moe_layers_.size(); ++i) {
    double violation = std::numeric_limits<double>::quiet_NaN();
    if (i < report.expert_load.size()) violation = max_violation(report.expert_load[i]);
    line += fmt::format(",{}", violation);
    scalars.emplace_back(fmt::format("max_violation/layer_{}", moe_layers_[i]), violation);
  }
  line +=
      fmt::format(",{:.6g},{:.6g},{:.6g}", record.tokens_per_second, record.mfu, record.seconds);
  scalars.emplace_back("speed/tokens_per_second", record.tokens_per_second);
  if (record.mfu > 0) scalars.emplace_back("speed/mfu", record.mfu);
  metrics_.add(line);
  events_.add_scalars(record.step, scalars);

  if (!with_expert_load || moe_layers_.empty() || report.expert_load.size() != moe_layers_.size()) {
    return;
  }
  Json layers = Json::object();
  for (size_t i = 0; i < moe_layers_.size(); ++i)
    layers[std::to_string(moe_layers_[i])] = report.expert_load[i];
  expert_load_.add(Json{{"step", record.step}, {"layers", layers}}.dump());
}

void RunLog::add_validation(int64_t step, int64_t tokens, const Evaluation& evaluation) {
  std::string line = fmt::format("{},{},{}", step, tokens, evaluation.loss);
  std::vector<std::pair<std::string, double>> scalars = {{"loss/validation", evaluation.loss}};
  for (size_t d = 0; d < evaluation.mtp_losses.size(); ++d) {
    line += fmt::format(",{}", evaluation.mtp_losses[d]);
    scalars.emplace_back(fmt::format("loss/validation_mtp_{}", d + 1), evaluation.mtp_losses[d]);
  }
  validation_.add(line);
  events_.add_scalars(step, scalars);
}

void RunLog::add_sample(int64_t step, int64_t number, const std::string& prompt,
                        const std::string& text) {
  samples_.add(Json{{"step", step}, {"prompt", prompt}, {"text", text}}.dump());
  // TensorBoard shows Markdown.
  events_.add_text(step, fmt::format("sample/{}", number), "**" + prompt + "**" + text);
}

void RunLog::sync() {
  for (StepLines* lines : {&metrics_, &validation_, &expert_load_, &samples_}) lines->sync();
}

std::vector<Column> read_csv(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  std::vector<Column> columns;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == text.npos) break;
    ++number;
    const std::string_view line(text.data() + begin, end - begin);
    begin = end + 1;
    size_t cell = 0;
    for (size_t at = 0; at <= line.size(); ++cell) {
      const size_t comma = std::min(line.find(',', at), line.size());
      const std::string_view word = line.substr(at, comma - at);
      at = comma + 1;
      if (number == 1) {
        columns.push_back({std::string(word), {}});
        continue;
      }
      double value = std::numeric_limits<double>::quiet_NaN();
      std::from_chars(word.data(), word.data() + word.size(), value);
      if (cell < columns.size()) columns[cell].values.push_back(value);
    }
    if (cell != columns.size()) {
      fail("{}: line {}: expected {} cells, found {}", path.string(), number, columns.size(), cell);
    }
  }
  if (columns.empty()) fail("{}: expected a header, found an empty file", path.string());
  return columns;
}

std::vector<ExpertLoadRecord> read_expert_loads(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  std::vector<ExpertLoadRecord> records;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == text.npos) break;
    const std::string where = fmt::format("{}: line {}", path.string(), ++number);
    const Json json = parse_json(std::string_view(text).substr(begin, end - begin), where);
    begin = end + 1;
    try {
      ExpertLoadRecord record;
      record.step = json.at("step").get<int64_t>();
      for (const auto& [layer, load] : json.at("layers").items()) {
        record.layers.push_back(std::stoll(layer));
        record.loads.push_back(load.get<std::vector<int64_t>>());
      }
      records.push_back(std::move(record));
    } catch (const std::exception& error) {
      fail("{}: expected a step and layers' loads: {}", where, json_error_reason(error));
    }
  }
  return records;
}

}  // namespace dsv3::training
