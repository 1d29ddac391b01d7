#include "training/train_tokenizer.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/thread_pool.h"
#include "checkpoint/test_files.h"
#include "dsv3/tokenizer.h"

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;

class TrainTokenizerTest : public ::testing::Test {
 protected:
  void TearDown() override { set_num_threads(0); }
  /// Documents, a JSON object on each line.
  fs::path stories() const {
    std::string text;
    for (int i = 0; i < 300; ++i) {
      text += fmt::format(R"({{"text": "Story {}: the {} owl saw {} mice in the 森林。"}})", i,
                          i % 3 ? "little" : "big", i % 7) +
              "\n";
    }
    write_bytes(folder_ / "stories.jsonl", text);
    return folder_ / "stories.jsonl";
  }
  TokenizerTrainingOptions options(const fs::path& input, int64_t vocab_size = 320) const {
    return {.inputs = {input}, .vocab_size = vocab_size};
  }
  TemporaryFolder folder_;
};

TEST_F(TrainTokenizerTest, WritesATokenizerThatSpeaksTheText) {
  const auto report = train_tokenizer(folder_ / "new/tok", options(stories(), 310));
  EXPECT_EQ(report.vocab_size, 310);
  EXPECT_EQ(report.documents, 300);
  const auto tokenizer = Tokenizer::from_file(folder_ / "new/tok");
  EXPECT_EQ(tokenizer.vocab_size(), 310);
  EXPECT_EQ(tokenizer.bos_token_id(), 0);
  const std::string text = "Story 5: the little owl saw 3 mice in the 森林。";
  const auto ids = tokenizer.encode(text);
  EXPECT_EQ(tokenizer.decode(ids), text);
  EXPECT_LT(ids.size(), 22u);
}

TEST_F(TrainTokenizerTest, ThreadsChangeNothing) {
  const auto input = stories();
  std::string first;
  for (const int threads : {1, 2, 7}) {
    set_num_threads(threads);
    const fs::path out = folder_ / fmt::format("tok{}", threads);
    auto o = options(input);
    o.limit_bytes = 5000;
    const auto report = train_tokenizer(out, o);
    EXPECT_GE(report.text_bytes, 5000);
    EXPECT_LT(report.text_bytes, 5100);
    const std::string file = read_file(out / "tokenizer.json");
    if (first.empty()) first = file;
    EXPECT_EQ(file, first) << threads << " threads";
  }
}

TEST_F(TrainTokenizerTest, ALittleTextGivesFewerTokens) {
  write_bytes(folder_ / "a.txt", "owl owl owl");
  const auto report = train_tokenizer(folder_ / "tok", options(folder_ / "a.txt", 1000));
  EXPECT_EQ(report.vocab_size, 264 + 3) << "ow, owl, _owl";
  EXPECT_EQ(report.distinct_pieces, 2);
  EXPECT_EQ(Tokenizer::from_file(folder_ / "tok").encode(" owl").size(), 1u);
}

TEST_F(TrainTokenizerTest, ErrorsLeaveNothing) {
  const auto expect_refused = [&](const TokenizerTrainingOptions& o,
                                  std::initializer_list<const char*> parts) {
    expect_error([&] { train_tokenizer(folder_ / "tok", o); }, parts);
    EXPECT_FALSE(fs::exists(folder_ / "tok"));
  };
  const auto input = stories();
  expect_refused(options(input, 263), {"263 tokens", "expected 264"});
  expect_refused(options(folder_ / "absent"), {"absent"});
  auto o = options(input);
  o.documents.field = "content";
  expect_refused(o, {"stories.jsonl:1", "'content'"});
  write_bytes(folder_ / "empty.txt", "");
  expect_refused(options(folder_ / "empty.txt"), {"empty.txt", "no text"});
  o = options(input);
  o.stop = [] { return true; };
  EXPECT_TRUE(train_tokenizer(folder_ / "tok", o).stopped);
  EXPECT_FALSE(fs::exists(folder_ / "tok"));

  train_tokenizer(folder_ / "tok", options(input));
  const std::string before = read_file(folder_ / "tok/tokenizer.json");
  expect_error([&] { train_tokenizer(folder_ / "tok", options(input, 300)); },
               {"tok/tokenizer.json: is there already"});
  EXPECT_EQ(read_file(folder_ / "tok/tokenizer.json"), before);
}

}  // namespace
}  // namespace dsv3::training
