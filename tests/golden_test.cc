// Every case of tests/golden against its expected values; see the README there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "cli/compare.h"
#include "cli/forward_call.h"

namespace dsv3 {
namespace {

namespace fs = std::filesystem;

// Another folder of such cases can be named in the environment.
fs::path golden_folder() {
  const char* other = std::getenv("DSV3_GOLDEN_DIR");
  return other != nullptr ? fs::path(other) : fs::path(DSV3_SOURCE_DIR) / "tests/golden";
}

std::vector<std::string> cases(const char* with_file) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(golden_folder())) {
    const fs::path call = entry.path() / "call.json";
    if (!fs::exists(call) || !fs::exists(entry.path() / with_file)) continue;
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class GoldenTest : public testing::TestWithParam<std::string> {
 protected:
  void run(const LoadOptions& options, const std::string& expected_file,
           const std::string& tolerance_key) {
    const fs::path folder = golden_folder() / GetParam();
    const Json tolerance = read_json_file(folder / "call.json").at(tolerance_key);
    const cli::Tensors found =
        cli::run_call(folder / "model", cli::read_call(folder / "call.json"),
                      cli::read_tensors(folder / "inputs.safetensors"), options);
    const auto comparisons =
        cli::compare(found, cli::read_tensors(folder / expected_file), tolerance);
    ASSERT_FALSE(comparisons.empty());
    double worst = 0;
    for (const cli::Comparison& c : comparisons) {
      EXPECT_TRUE(c.good()) << c.to_text();
      // Tokens are equal or not; everything else must have been held against a tolerance.
      if (!c.name.starts_with("sequences") || c.name == "sequences_scores") {
        EXPECT_TRUE(c.share_of_tolerance) << c.name << " has no tolerance";
      }
      worst = std::max(worst, c.share_of_tolerance.value_or(0));
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
INSTANTIATE_TEST_SUITE_P(Cases, GoldenDynamicTest,
                         testing::ValuesIn(cases("expected_dynamic.safetensors")),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace dsv3
