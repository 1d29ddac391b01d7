#include "training/train_config.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <type_traits>

#include "base/error.h"
#include "base/suggestion.h"

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;

/// Larger than every sensible number, and small enough for products of a few.
constexpr double kNoLimit = 1e15;

/// The values that a number may have.
struct Range {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
  bool above_least = false;  ///< `least` itself is not allowed

  bool contains(double x) const {
    return x <= most && (above_least ? x > least : x >= least);  // false for NaN
  }
  std::string text() const {
    const std::string from = fmt::format("{} {}", above_least ? "above" : "of at least", least);
    return most >= kNoLimit ? from : fmt::format("{} and at most {}", from, most);
  }
};
constexpr Range kCount{0, kNoLimit};
constexpr Range kPositiveCount{1, kNoLimit};
constexpr Range kNonNegative{0};
constexpr Range kPositive{0, std::numeric_limits<double>::infinity(), true};
constexpr Range kBeta{0, 0.9999999};
constexpr Range kAnything{};

/// Every field once, with its comment: reading, writing, the example and the documentation follow.
/// A section is announced by its name and ends where the next begins.
template <typename Config, typename Visitor>
void visit_fields(Config& c, Visitor&& visit) {
  visit("run", c.run, kAnything, "Folder of the run; started again in it, a run goes on.");
  visit("steps", c.steps, kPositiveCount, "Optimizer steps of the whole run.");
  visit("tokens", c.tokens, kCount,
        "Instead of `steps`: as many steps as take so many tokens. 0: `steps` counts.");
  visit("seed", c.seed, kCount, "Of new weights, of the order of the data and of samples.");
  visit("threads", c.threads, Range{0, 4096},
        "To compute with; 0: all that this process may use. Another number gives other roundings.");
  visit("dtype", c.dtype, kAnything,
        "\"bfloat16\": weights are multiplied in bfloat16 and follow float32 masters; or "
        "\"float32\".");
  visit("recompute", c.recompute, kAnything,
        "Compute RMSNorm, the up-projections of attention and SwiGLU again in the backward pass: "
        "less memory.");

  visit.section("model", "What is trained. A checkpoint is an official folder with safetensors.");
  visit("model.config", c.model.config, kAnything,
        "config.json of a new model with random weights.");
  visit("model.checkpoint", c.model.checkpoint, kAnything,
        "Instead: folder of a model to go on from; `config` does not count then.");
  visit("model.tokenizer", c.model.tokenizer, kAnything,
        "tokenizer.json or its folder, for samples and to be saved with the model; \"\": beside "
        "the config.");

  visit.section("data", "Token files, made by `dsv3 prepare`.");
  visit("data.train", c.data.train, kAnything, "Files, or folders of them.");
  visit("data.valid", c.data.valid, kAnything, "The same for validation; []: none.");
  visit("data.sequence_length", c.data.sequence_length, Range{2, 1e9},
        "Predictions of a window, in tokens.");
  visit("data.shuffle", c.data.shuffle, kAnything,
        "Windows in another order in each epoch; false: in the order of the files.");
  visit("data.attention_across_documents", c.data.attention_across_documents, kAnything,
        "Whether tokens see earlier documents of their window, as in the report.");

  visit.section("batch", "Windows of a step.");
  visit("batch.windows", c.batch.windows, kPositiveCount, "After the ramp.");
  visit("batch.start_windows", c.batch.start_windows, kCount, "At the beginning; 0: no ramp.");
  visit("batch.ramp_tokens", c.batch.ramp_tokens, kCount,
        "Tokens in which a step grows linearly from start_windows to windows.");
  visit("batch.micro_windows", c.batch.micro_windows, kCount,
        "Windows that are in memory together; gradients are summed over a step. 0: all of a step.");

  visit.section("learning_rate",
                "Linear warm-up, constant `peak`, cosine to `decayed`, constant, then `final`. The "
                "report: 2.2e-4, 2.2e-5, 7.3e-6. Moments are steps, or fractions below 1 of all "
                "steps.");
  visit("learning_rate.peak", c.learning_rate.peak, kPositive, "After the warm-up.");
  visit("learning_rate.warmup_until", c.learning_rate.warmup_until, kNonNegative,
        "Step that first has the peak.");
  visit("learning_rate.constant_until", c.learning_rate.constant_until, kNonNegative,
        "Last step with the peak.");
  visit("learning_rate.cosine_until", c.learning_rate.cosine_until, kNonNegative,
        "Step that first has `decayed`.");
  visit("learning_rate.decayed", c.learning_rate.decayed, kNonNegative, "After the cosine.");
  visit("learning_rate.decayed_until", c.learning_rate.decayed_until, kNonNegative,
        "Last step with `decayed`; 0: to the end.");
  visit("learning_rate.final", c.learning_rate.final, kNonNegative, "Afterwards.");

  visit.section("optimizer", "AdamW.");
  visit("optimizer.beta1", c.optimizer.beta1, kBeta, "Of the mean of gradients.");
  visit("optimizer.beta2", c.optimizer.beta2, kBeta, "Of the mean of their squares.");
  visit("optimizer.eps", c.optimizer.eps, kPositive, "Added to the root of the latter.");
  visit("optimizer.weight_decay", c.optimizer.weight_decay, kNonNegative, "Decoupled.");
  visit("optimizer.decay_vectors", c.optimizer.decay_vectors, kAnything,
        "Weight decay also of norms and biases.");
  visit("optimizer.max_grad_norm", c.optimizer.max_grad_norm, kNonNegative,
        "Clipping by the norm of all gradients together; 0: none.");
  visit("optimizer.torch_grad_norm", c.optimizer.torch_grad_norm, kAnything,
        "Clip by the norm as torch computes it in float32: to follow a run of transformers.");

  visit.section("balancing", "Of experts, without a loss but by biases of the router.");
  visit("balancing.bias_update_speed", c.balancing.bias_update_speed, kNonNegative,
        "Gamma: what a step adds to the bias of experts with too few tokens.");
  visit("balancing.until", c.balancing.until, kNonNegative,
        "Last step with gamma; afterwards biases stay. 0: to the end.");
  visit("balancing.loss_alpha", c.balancing.loss_alpha, kNonNegative,
        "Factor of the sequence-wise balance loss.");

  visit.section("mtp", "Multi-token prediction, where the model has modules for it.");
  visit("mtp.loss_weight", c.mtp.loss_weight, kNonNegative, "Lambda.");
  visit("mtp.until", c.mtp.until, kNonNegative, "Last step with it; 0: to the end.");
  visit("mtp.later_loss_weight", c.mtp.later_loss_weight, kNonNegative, "Lambda afterwards.");

  visit.section("log", "metrics.csv and event files have every step.");
  visit("log.every", c.log.every, kPositiveCount, "Steps between two lines that are printed.");
  visit("log.expert_load_every", c.log.expert_load_every, kCount,
        "Steps between two records of all experts' loads; 0: none.");

  visit.section("validation", "Mean loss over the first windows of the validation data.");
  visit("validation.every", c.validation.every, kCount, "Steps; 0: only at the end.");
  visit("validation.windows", c.validation.windows, kPositiveCount, "At most so many.");

  visit.section("samples", "Texts that the model writes on the way.");
  visit("samples.every", c.samples.every, kCount, "Steps; 0: none.");
  visit("samples.prompts", c.samples.prompts, kAnything, "What they begin with.");
  visit("samples.tokens", c.samples.tokens, kPositiveCount, "Length of what is added.");
  visit("samples.temperature", c.samples.temperature, kNonNegative, "0: the likeliest tokens.");

  visit.section("checkpoints",
                "The last ones are kept, and the one with the lowest validation loss among those "
                "that were saved where a validation was due.");
  visit("checkpoints.every", c.checkpoints.every, kCount, "Steps; 0: only at the end.");
  visit("checkpoints.keep_last", c.checkpoints.keep_last, kPositiveCount, "So many.");

  visit.section("trouble",
                "\"stop\" ends the run with a report; \"skip\" leaves the model as it was and goes "
                "on with the next step.");
  visit("trouble.on_not_finite", c.trouble.on_not_finite, kAnything,
        "A loss or a gradient is no number.");
  visit("trouble.on_spike", c.trouble.on_spike, kAnything, "The loss is far above its median.");
  visit("trouble.spike_factor", c.trouble.spike_factor, kNonNegative,
        "How many times the median of the last losses is far above; 0: nothing is.");
  visit("trouble.spike_window", c.trouble.spike_window, Range{4, 100000},
        "Losses that the median is of; before there are so many, nothing is a spike.");
  visit("trouble.most_skips", c.trouble.most_skips, kPositiveCount,
        "Skipped steps in a row after which the run stops all the same.");
}

// ---- the types of fields: each has `expected`, what a message calls it; `take`, which says
// whether the value fits; `json`, how it is written.

template <typename E>
struct Names;
template <>
struct Names<TrainingDType> {
  static constexpr std::pair<const char*, TrainingDType> kAll[] = {
      {"float32", TrainingDType::kFloat32}, {"bfloat16", TrainingDType::kBFloat16}};
};
template <>
struct Names<OnTrouble> {
  static constexpr std::pair<const char*, OnTrouble> kAll[] = {{"stop", OnTrouble::kStop},
                                                               {"skip", OnTrouble::kSkip}};
};

template <typename T>
std::string expected(const Range& range) {
  if constexpr (std::is_enum_v<T>) {
    return fmt::format("\"{}\" or \"{}\"", Names<T>::kAll[0].first, Names<T>::kAll[1].first);
  } else if constexpr (std::is_same_v<T, std::string>) {
    return "text";
  } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    return "a list of texts";
  } else if constexpr (std::is_same_v<T, bool>) {
    return "true or false";
  } else if constexpr (std::is_same_v<T, int64_t>) {
    return "an integer " + range.text();
  } else if constexpr (std::is_same_v<T, Moment>) {
    return "a number of steps, or a fraction below 1 of all steps";
  } else {
    return "a number " + range.text();
  }
}

bool take(const Json& json, std::string& out, const Range&) {
  if (!json.is_string()) return false;
  out = json.get<std::string>();
  return true;
}
bool take(const Json& json, std::vector<std::string>& out, const Range&) {
  if (!json.is_array()) return false;
  std::vector<std::string> list;
  for (const Json& item : json) {
    if (!item.is_string()) return false;
    list.push_back(item.get<std::string>());
  }
  out = std::move(list);
  return true;
}
bool take(const Json& json, bool& out, const Range&) {
  if (!json.is_boolean()) return false;
  out = json.get<bool>();
  return true;
}
bool take(const Json& json, int64_t& out, const Range& range) {
  // 1e6 is as good as 1000000.
  const bool whole = json.is_number_integer() ||
                     (json.is_number_float() && std::trunc(json.get<double>()) == json);
  if (!whole || !range.contains(json.get<double>())) return false;
  out = json.is_number_integer() ? json.get<int64_t>() : static_cast<int64_t>(json.get<double>());
  return true;
}
bool take(const Json& json, double& out, const Range& range) {
  if (!json.is_number() || !range.contains(json.get<double>())) return false;
  out = json.get<double>();
  return true;
}
bool take(const Json& json, Moment& out, const Range&) {
  if (!json.is_number()) return false;
  const double value = json.get<double>();
  if (!(value >= 0 && value <= kNoLimit) || (value >= 1 && std::trunc(value) != value))
    return false;
  out.value = value;
  return true;
}
template <typename E>
requires std::is_enum_v<E>
bool take(const Json& json, E& out, const Range&) {
  for (const auto& [name, value] : Names<E>::kAll) {
    if (json != name) continue;
    out = value;
    return true;
  }
  return false;
}

template <typename T>
Json json_of(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    for (const auto& [name, known] : Names<T>::kAll) {
      if (known == value) return name;
    }
    return nullptr;
  } else if constexpr (std::is_same_v<T, Moment>) {
    if (value.value >= 1 || value.value == 0) return static_cast<int64_t>(value.value);
    return value.value;
  } else {
    return value;
  }
}

/// "batch" and "windows"; the first is empty for a field of the outermost object.
std::pair<std::string, std::string> split_name(const std::string& name) {
  const size_t dot = name.find('.');
  return dot == name.npos ? std::pair(std::string(), name)
                          : std::pair(name.substr(0, dot), name.substr(dot + 1));
}

/// Base of the visitors: sections mean nothing to most.
struct Visitor {
  void section(const char*, const char*) {}
};

[[noreturn]] void refuse_value(const std::string& name, const Json& found,
                               const std::string& wanted) {
  std::string text = found.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 100) text = text.substr(0, 100) + "...";
  fail("{}: expected {}, found {}", name, wanted, text);
}

struct Reader : Visitor {
  explicit Reader(const Json& j) : json(j) {}
  template <typename T>
  void operator()(const char* name, T& value, const Range& range, const char*) {
    const auto [section, key] = split_name(name);
    const Json* object = &json;
    if (!section.empty()) {
      const auto at = json.find(section);
      if (at == json.end()) return;
      object = &*at;
    }
    const auto at = object->find(key);
    if (at == object->end()) return;
    if (!take(*at, value, range)) refuse_value(name, *at, expected<T>(range));
  }
  const Json& json;
};

/// Sets one field to a text of the command line.
struct Setter : Visitor {
  Setter(std::string n, std::string t) : wanted(std::move(n)), text(std::move(t)) {}
  template <typename T>
  void operator()(const char* name, T& value, const Range& range, const char*) {
    if (wanted != name) return;
    found = true;
    constexpr bool is_text = std::is_same_v<T, std::string> || std::is_enum_v<T>;
    Json json;
    if (is_text || !Json::accept(text)) {
      json = text;
    } else {
      json = Json::parse(text);
    }
    if constexpr (std::is_same_v<T, std::vector<std::string>>) {
      if (!json.is_array()) json = Json::array({text});
    }
    if (!take(json, value, range)) refuse_value(name, json, expected<T>(range));
  }
  std::string wanted, text;
  bool found = false;
};

struct NameLister : Visitor {
  void operator()(const char* name, const auto&, const Range&, const char*) {
    names.emplace_back(name);
  }
  std::vector<std::string> names;
};

struct Writer : Visitor {
  void operator()(const char* name, const auto& value, const Range&, const char*) {
    const auto [section, key] = split_name(name);
    (section.empty() ? json : json[section])[key] = json_of(value);
  }
  Json json = Json::object();
};

struct ExampleWriter {
  void section(const char* name, const char* comment) {
    close_section();
    add_comment("  ", comment);
    text += fmt::format("  \"{}\": {{\n", name);
    inside = true;
    first = true;
  }
  void operator()(const char* name, const auto& value, const Range&, const char* comment) {
    const std::string indent = inside ? "    " : "  ";
    if (!first) {
      // The comma belongs to the line before the comment.
      text.insert(text.size() - 1, ",");
    }
    first = false;
    add_comment(indent, comment);
    text += fmt::format("{}\"{}\": {}\n", indent, split_name(name).second, json_of(value).dump());
  }
  void close_section() {
    if (inside) text += "  }\n";
    if (!text.empty()) text.insert(text.size() - 1, ",");
    text += "\n";
    inside = false;
  }
  void add_comment(const std::string& indent, std::string_view comment) {
    constexpr size_t kWidth = 100;
    std::string line = indent + "//";
    while (!comment.empty()) {
      const size_t space = std::min(comment.find(' '), comment.size());
      if (line.size() + 1 + space > kWidth) {
        text += line + "\n";
        line = indent + "//";
      }
      line += " " + std::string(comment.substr(0, space));
      comment.remove_prefix(std::min(space + 1, comment.size()));
    }
    text += line + "\n";
  }
  std::string text;
  bool inside = false, first = true;
};

std::vector<std::string> section_names() {
  std::vector<std::string> sections;
  for (const std::string& name : TrainConfig::field_names()) {
    const std::string section = split_name(name).first;
    if (!section.empty() && (sections.empty() || sections.back() != section))
      sections.push_back(section);
  }
  return sections;
}

void refuse_unknown(const Json& json) {
  const std::vector<std::string> names = TrainConfig::field_names();
  const std::vector<std::string> sections = section_names();
  const auto known = [](const std::vector<std::string>& list, const std::string& name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  for (const auto& [key, value] : json.items()) {
    if (known(sections, key)) {
      if (!value.is_object()) refuse_value(key, value, "an object");
      for (const auto& [inner, ignored] : value.items()) {
        const std::string name = key + "." + inner;
        if (!known(names, name)) fail("unknown field '{}'{}", name, suggestion(name, names));
      }
    } else if (const auto [section, field] = split_name(key);
               !section.empty() && known(names, key)) {
      fail("unknown field '{}': write it as \"{}\": {{\"{}\": ...}}", key, section, field);
    } else if (!known(names, key)) {
      std::vector<std::string> candidates = names;
      candidates.insert(candidates.end(), sections.begin(), sections.end());
      fail("unknown field '{}'{}", key, suggestion(key, candidates));
    }
  }
}

}  // namespace

int64_t Moment::of(int64_t steps) const {
  return value < 1 ? std::llround(value * static_cast<double>(steps)) : static_cast<int64_t>(value);
}

TrainConfig TrainConfig::from_json(const std::string& text, const std::string& where) {
  const Json json = parse_commented_json(text, where);
  return with_context(where, [&] {
    if (!json.is_object()) fail("expected a JSON object, found {}", json.type_name());
    refuse_unknown(json);
    TrainConfig config;
    Reader reader(json);
    visit_fields(config, reader);
    return config;
  });
}

void TrainConfig::set(const std::string& assignment) {
  const size_t at = assignment.find('=');
  if (at == assignment.npos || at == 0) {
    fail("'{}': expected FIELD=VALUE, as batch.windows=8", assignment);
  }
  Setter setter(assignment.substr(0, at), assignment.substr(at + 1));
  visit_fields(*this, setter);
  if (!setter.found) {
    fail("unknown field '{}'{}", setter.wanted, suggestion(setter.wanted, field_names()));
  }
}

void TrainConfig::validate(const std::string& where) const {
  const auto require = [&](bool good, const std::string& message) {
    if (!good) fail("{}: {}", where, message);
  };
  const auto require_path = [&](const char* name, const std::string& path) {
    if (path.empty()) fail("{}: {}: expected a path, found \"\"", where, name);
    std::error_code ec;
    if (!fs::exists(path, ec)) fail("{}: {}: no such file or folder: {}", where, name, path);
  };
  require(!run.empty(), "run: expected a folder, found \"\"");
  if (model.checkpoint.empty()) {
    require_path("model.config", model.config);
  } else {
    require_path("model.checkpoint", model.checkpoint);
  }
  if (!model.tokenizer.empty()) require_path("model.tokenizer", model.tokenizer);
  require(!data.train.empty(), "data.train: expected a file or folder at least, found []");
  for (const std::string& path : data.train) require_path("data.train", path);
  for (const std::string& path : data.valid) require_path("data.valid", path);
  require(batch.start_windows <= batch.windows,
          fmt::format("batch.start_windows: expected at most batch.windows, {}, found {}",
                      batch.windows, batch.start_windows));
  require((batch.start_windows == 0) == (batch.ramp_tokens == 0),
          fmt::format("batch.start_windows and batch.ramp_tokens: expected both or neither, found "
                      "{} and {}",
                      batch.start_windows, batch.ramp_tokens));
  require(tokens == 0 || tokens >= data.sequence_length,
          fmt::format("tokens: expected at least a window of {}, found {}", data.sequence_length,
                      tokens));
  for (const std::string& prompt : samples.prompts)
    require(!prompt.empty(), "samples.prompts: expected texts, found an empty one");
}

Json TrainConfig::to_json() const {
  Writer writer;
  visit_fields(*this, writer);
  return writer.json;
}

std::string TrainConfig::example() {
  ExampleWriter writer;
  const TrainConfig defaults;
  visit_fields(defaults, writer);
  return fmt::format(
      "// A run of `dsv3 train`. Every field is here with its default; those that may stay can "
      "go.\n"
      "// Paths are relative to the folder that the program is started in.\n{{\n{}  }}\n}}\n",
      writer.text);
}

std::vector<std::string> TrainConfig::field_names() {
  NameLister lister;
  const TrainConfig defaults;
  visit_fields(defaults, lister);
  return lister.names;
}

TrainerOptions TrainConfig::trainer_options() const {
  return {.dtype = dtype,
          .adamw = {.beta1 = optimizer.beta1,
                    .beta2 = optimizer.beta2,
                    .eps = optimizer.eps,
                    .weight_decay = optimizer.weight_decay,
                    .decay_vectors = optimizer.decay_vectors},
          .max_grad_norm = optimizer.max_grad_norm,
          .torch_grad_norm = optimizer.torch_grad_norm,
          .micro_batch_windows = batch.micro_windows,
          .recompute = recompute,
          .attention_across_documents = data.attention_across_documents};
}

}  // namespace dsv3::training
