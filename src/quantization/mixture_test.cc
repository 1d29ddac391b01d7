#include "quantization/mixture.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "base/error.h"

namespace dsv3::quantization {
namespace {

// A table of tests/golden-mixtures: what llama-quantize does with a model of one shape.
struct Table {
  std::map<std::string, int64_t> shape;
  struct Line {
    std::string mixture, stem;
    std::vector<std::string> types;  // in the layers that have the tensor
  };
  std::vector<Line> lines;

  explicit Table(const std::filesystem::path& path) {
    std::ifstream in(path);
    std::string text;
    std::getline(in, text);
    std::istringstream first(text);
    for (std::string word; first >> word;) {
      const size_t at = word.find('=');
      shape[word.substr(0, at)] = std::stoll(word.substr(at + 1));
    }
    while (std::getline(in, text)) {
      std::istringstream words(text);
      Line line;
      words >> line.mixture >> line.stem;
      for (std::string run; words >> run;) {
        const size_t at = run.find('*');
        line.types.insert(line.types.end(), std::stoul(run.substr(at + 1)), run.substr(0, at));
      }
      lines.push_back(line);
    }
  }

  int64_t cols(const std::string& stem) const {
    const std::map<std::string, int64_t> others = {{"attn_q_b.weight", shape.at("q_lora_rank")},
                                                   {"attn_k_b.weight", 32},
                                                   {"attn_v_b.weight", 256},
                                                   {"attn_kv_b.weight", 256},
                                                   {"attn_output.weight", 256},
                                                   {"ffn_down.weight", 256},
                                                   {"ffn_down_exps.weight", 256},
                                                   {"ffn_down_shexp.weight", 256}};
    const auto found = others.find(stem);
    return found == others.end() ? shape.at("hidden") : found->second;
  }
};

class MixtureTest : public testing::TestWithParam<const char*> {};

TEST_P(MixtureTest, GivesTheTypesThatLlamaQuantizeGives) {
  const Table table(std::filesystem::path(DSV3_SOURCE_DIR) / "tests/golden-mixtures" /
                    (std::string(GetParam()) + ".txt"));
  ASSERT_GT(table.lines.size(), 300u);
  for (const Table::Line& line : table.lines) {
    const size_t plus = line.mixture.find('+');
    const Mixture mixture = Mixture::named(line.mixture.substr(0, plus));
    const MixtureModel model{.n_layers = table.shape.at("layers"),
                             .n_routed_experts = table.shape.at("experts"),
                             .tied_embeddings = table.shape.at("tied") != 0,
                             .has_imatrix = plus != std::string::npos};
    const bool in_layers = line.stem != "token_embd.weight" && line.stem != "output.weight";
    const bool moe_only = line.stem.ends_with("exps.weight") || line.stem.ends_with("shexp.weight");
    for (size_t i = 0; i < line.types.size(); ++i) {
      const int64_t layer =
          !in_layers ? -1 : static_cast<int64_t>(i) + (moe_only ? table.shape.at("dense") : 0);
      const std::string name =
          in_layers ? "blk." + std::to_string(layer) + "." + line.stem : line.stem;
      const DType found = fitting_type(mixture.type_of(model, name, layer), table.cols(line.stem));
      ASSERT_EQ(dtype_name(found), line.types[i]) << line.mixture << " " << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, MixtureTest,
                         testing::Values("v3_split", "v3_whole", "lite_tied", "odd_rows", "tiny"));

TEST(MixtureNameTest, AliasesAndCase) {
  EXPECT_EQ(Mixture::named("q4_k").name(), "Q4_K_M");
  EXPECT_EQ(Mixture::named("Q3_K").file_type(), 12u);
  EXPECT_THROW(Mixture::named("Q9_Z"), Error);
}

}  // namespace
}  // namespace dsv3::quantization
