// Every case of tests/golden against its expected values; see the README there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "cli/forward_call.h"
#include "formats/convert.h"

namespace dsv3 {
namespace {

namespace fs = std::filesystem;

fs::path golden_folder() {
  const char* from_environment = std::getenv("DSV3_GOLDEN_DIR");
  return from_environment != nullptr ? fs::path(from_environment) : fs::path(DSV3_SOURCE_DIR) / "tests/golden";
}

std::vector<std::string> cases(const char* with_file) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(golden_folder())) {
    const fs::path call = entry.path() / "call.json";
    if (!fs::exists(call) || !fs::exists(entry.path() / with_file)) continue;
    if (read_json_file(call).at("method") != "backward") names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// "logits.3" and "hidden_states.0" take the tolerance of "logits" and "hidden_states".
std::string kind_of(const std::string& name) {
  const size_t dot = name.find('.');
  return name.substr(0, dot);
}

// Whether an element may be compared: 1 in compare_mask [batch, columns] where its position is padding's.
class CompareMask {
 public:
  CompareMask(const cli::Tensors& expected, const std::string& name, const Shape& shape) {
    std::string key = "compare_mask";
    if (name.starts_with("logits.")) key += name.substr(6);
    const auto it = expected.find(key);
    if (it == expected.end() || shape.size() < 3) return;
    mask_ = it->second;
    const bool attention = kind_of(name) == "attentions";  // [B, heads, S, keys]
    inner_ = shape.back();
    columns_ = attention ? shape[2] : shape[1];
    per_row_ = 1;
    for (size_t i = 1; i < shape.size(); ++i) per_row_ *= shape[i];
    if (columns_ != mask_.dim(1)) mask_ = Tensor();
  }
  bool compares(int64_t i) const {
    if (!mask_.defined()) return true;
    return mask_.as<int64_t>()[i / per_row_ * columns_ + i / inner_ % columns_] != 0;
  }

 private:
  Tensor mask_;
  int64_t inner_ = 1, columns_ = 1, per_row_ = 1;
};

// Largest share of the tolerance that an element takes.
double compare(const std::string& name, const Tensor& found_tensor, const Tensor& expected, const Json& tolerance,
               const CompareMask& mask) {
  EXPECT_EQ(found_tensor.shape(), expected.shape()) << name;
  if (found_tensor.shape() != expected.shape()) return INFINITY;
  if (expected.dtype() == DType::kI64) {
    const auto a = found_tensor.as<int64_t>(), b = expected.as<int64_t>();
    EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin())) << name << ": tokens differ";
    return 0;
  }
  const Json& t = tolerance.at(kind_of(name));
  const double atol = t.at("atol"), rtol = t.at("rtol");
  const Tensor x = formats::to_f32(found_tensor), y = formats::to_f32(expected);
  const auto a = x.as<float>(), b = y.as<float>();
  double worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    if (!mask.compares(static_cast<int64_t>(i))) continue;
    const double allowed = atol + rtol * std::fabs(b[i]);
    const double error = std::fabs(double{a[i]} - b[i]);
    const double share = error == 0 ? 0 : allowed == 0 || std::isnan(error) ? INFINITY : error / allowed;
    if (share > worst) worst = share, at = i;
  }
  EXPECT_LE(worst, 1) << name << "[" << at << "]: expected " << b[at] << ", found " << a[at] << ", allowed "
                      << atol + rtol * std::fabs(b[at]);
  return worst;
}

class GoldenTest : public testing::TestWithParam<std::string> {
 protected:
  void run(const LoadOptions& options, const std::string& expected_file, const std::string& tolerance_key) {
    const fs::path folder = golden_folder() / GetParam();
    const cli::Call call = cli::read_call(folder / "call.json");
    const Json tolerance = read_json_file(folder / "call.json").at(tolerance_key);
    const cli::Tensors inputs = cli::read_tensors(folder / "inputs.safetensors");
    const cli::Tensors results = cli::run_call(folder / "model", call, inputs, options);
    const cli::Tensors all_expected = cli::read_tensors(folder / expected_file);
    double worst = 0;
    for (const auto& [name, expected] : all_expected) {
      if (kind_of(name) == "compare_mask") continue;
      const auto found = results.find(name);
      ASSERT_NE(found, results.end()) << name << " is not among the results";
      worst = std::max(worst, compare(name, found->second, expected, tolerance,
                                      CompareMask(all_expected, name, expected.shape())));
    }
    RecordProperty("share_of_tolerance", fmt::format("{:.4f}", worst));
  }
};

TEST_P(GoldenTest, EqualsTransformers) { run({}, "expected.safetensors", "tolerance"); }

TEST_P(GoldenTest, AbsorbedAttentionEqualsTransformers) {
  run({.attention = AttentionForm::kAbsorbed}, "expected.safetensors", "tolerance");
}

TEST_P(GoldenTest, ExpandedAttentionEqualsTransformers) {
  run({.attention = AttentionForm::kExpanded}, "expected.safetensors", "tolerance");
}

TEST_P(GoldenTest, ConvertedToFloat32EqualsTransformers) {
  run({.dtype = WeightDType::kFloat32}, "expected.safetensors", "tolerance");
}

using GoldenDynamicTest = GoldenTest;

TEST_P(GoldenDynamicTest, DynamicActivationsEqualReference) {
  for (const AttentionForm form : {AttentionForm::kAbsorbed, AttentionForm::kExpanded}) {
    run({.attention = form, .fp8_activations = Fp8Mode::kDynamic}, "expected_dynamic.safetensors",
        "tolerance_dynamic");
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenTest, testing::ValuesIn(cases("expected.safetensors")),
                         [](const auto& test) { return test.param; });
INSTANTIATE_TEST_SUITE_P(Cases, GoldenDynamicTest, testing::ValuesIn(cases("expected_dynamic.safetensors")),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace dsv3
