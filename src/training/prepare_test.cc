#include "training/prepare.h"

#include <gtest/gtest.h>

#include <map>

#include "base/file.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "checkpoint/test_files.h"
#include "training/token_shard.h"

namespace dsv3::training {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int64_t>;

const Tokenizer& stories() {
  static const auto tokenizer = Tokenizer::from_file(fs::path(DSV3_SOURCE_DIR) / "models/stories");
  return tokenizer;
}

/// The stories tokenizer with the tokens of Fill-in-Middle instead of the last three.
Tokenizer fim_tokenizer(const fs::path& folder) {
  const fs::path source = fs::path(DSV3_SOURCE_DIR) / "models/stories";
  fs::create_directories(folder);
  fs::copy_file(source / "tokenizer_config.json", folder / "tokenizer_config.json");
  Json json = read_json_file(source / "tokenizer.json");
  int64_t id = 4096;
  for (const char* name : {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"}) {
    Json token = json["added_tokens"].back();
    token["content"] = name;
    token["id"] = id++;
    json["added_tokens"].push_back(token);
  }
  write_bytes(folder / "tokenizer.json", json.dump());
  return Tokenizer::from_file(folder);
}

class PrepareTest : public ::testing::Test {
 protected:
  void TearDown() override { set_num_threads(0); }
  fs::path write(const std::string& name, std::string_view bytes) const {
    write_bytes(folder_ / name, bytes);
    return folder_ / name;
  }
  /// A thousand documents, of which some are empty.
  fs::path many() const {
    std::string text;
    for (int i = 0; i < 1000; ++i) {
      if (i % 50 != 7)
        text += fmt::format("Story {}: the owl of {} saw {} mice.\n", i, i * i, i % 9);
      if (i % 3 == 0) text += "And then it slept, näher am Wald 森.\n";
      text += "--\n";
    }
    return write("many.txt", text);
  }
  PrepareOptions options(const fs::path& input) const {
    return {.inputs = {input}, .documents = {.separator = "--"}};
  }
  /// The documents of the shards in a folder.
  static std::vector<Ids> documents(const fs::path& folder) {
    std::vector<Ids> all;
    for (const fs::path& path : find_shards({folder})) {
      const auto shard = TokenShard::open(path);
      shard.verify();
      for (int64_t i = 0, d = 0; i < shard.num_tokens(); ++i) {
        if (d < shard.num_documents() && shard.document_begin(d) == i) {
          all.emplace_back();
          ++d;
        }
        all.back().push_back(shard.token(i));
      }
    }
    return all;
  }
  static std::map<std::string, std::string> files(const fs::path& folder) {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (entry.is_regular_file()) {
        all[entry.path().lexically_relative(folder).string()] = read_file(entry.path());
      }
    }
    return all;
  }
  TemporaryFolder folder_;
};

TEST_F(PrepareTest, DocumentsStandBetweenBosAndEos) {
  const auto input = write("in.txt", "Once upon a time\n--\n--\n<｜end▁of▁sentence｜>\n--\n");
  const PrepareReport report = prepare(stories(), folder_ / "out", options(input));
  EXPECT_EQ(report.train.documents, 2);
  EXPECT_EQ(report.empty_documents, 1);
  const auto found = documents(folder_ / "out");
  ASSERT_EQ(found.size(), 2u);
  Ids first = stories().encode("<｜begin▁of▁sentence｜>Once upon a time<｜end▁of▁sentence｜>");
  EXPECT_EQ(found[0], first);
  // A special token's text in a document is text: only the last token is EOS.
  EXPECT_EQ(std::count(found[1].begin(), found[1].end(), 1), 1);
  EXPECT_EQ(stories().decode(found[1], /*skip_special_tokens=*/true), "<｜end▁of▁sentence｜>");
  EXPECT_EQ(report.train.tokens, static_cast<int64_t>(found[0].size() + found[1].size()));
  EXPECT_EQ(report.text_bytes, 16 + 27);
  const auto shard = TokenShard::open(folder_ / "out/shard-00000.tokens");
  EXPECT_EQ(shard.vocab_size(), 4096);
  EXPECT_EQ(shard.tokenizer_hash(), tokenizer_hash(stories()));
}

TEST_F(PrepareTest, ThreadsChangeNothing) {
  const auto input = many();
  const auto tokenizer = fim_tokenizer(folder_ / "tokenizer");
  PrepareOptions o = options(input);
  o.shard_tokens = 8000;
  o.valid_fraction = 0.2;
  o.fim_rate = 0.5;
  std::map<std::string, std::string> first;
  for (const int threads : {1, 2, 5}) {
    set_num_threads(threads);
    const fs::path out = folder_ / fmt::format("out{}", threads);
    prepare(tokenizer, out, o);
    if (first.empty()) first = files(out);
    EXPECT_EQ(files(out), first) << threads << " threads";
  }
  EXPECT_GT(first.size(), 4u);
}

TEST_F(PrepareTest, ShardsEndBetweenDocuments) {
  const auto input = many();
  prepare(stories(), folder_ / "one", options(input));
  PrepareOptions o = options(input);
  o.shard_tokens = 4000;
  const PrepareReport report = prepare(stories(), folder_ / "several", o);
  const auto shards = find_shards({folder_ / "several"});
  EXPECT_EQ(report.train.shards, static_cast<int64_t>(shards.size()));
  EXPECT_GT(shards.size(), 3u);
  for (const auto& path : shards) {
    const auto shard = TokenShard::open(path);
    EXPECT_LE(shard.num_tokens(), 4000);
    if (path != shards.back()) {
      EXPECT_GT(shard.num_tokens(), 3900);
    }
  }
  EXPECT_EQ(documents(folder_ / "several"), documents(folder_ / "one"));
  // A document is never cut.
  o = options(write("few.txt", "Once upon a time\n--\nthe\n--\nowl"));
  o.shard_tokens = 1;
  EXPECT_EQ(prepare(stories(), folder_ / "each", o).train.shards, 3);
}

TEST_F(PrepareTest, EachDocumentIsForTrainingOrForValidation) {
  const auto input = many();
  prepare(stories(), folder_ / "all", options(input));
  PrepareOptions o = options(input);
  o.valid_fraction = 0.3;
  const PrepareReport report = prepare(stories(), folder_ / "split", o);
  // Binomial of 980 documents: deviation 14.
  EXPECT_NEAR(static_cast<double>(report.valid.documents), 0.3 * 980, 60);
  auto both = documents(folder_ / "split/train"), all = documents(folder_ / "all");
  for (auto& document : documents(folder_ / "split/valid")) both.push_back(document);
  std::sort(both.begin(), both.end());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(both, all);
}

TEST_F(PrepareTest, FillInMiddleKeepsTheText) {
  const auto input = many();
  const auto tokenizer = fim_tokenizer(folder_ / "tokenizer");
  const FimTokens fim = FimTokens::of(tokenizer);
  prepare(tokenizer, folder_ / "plain", options(input));
  PrepareOptions o = options(input);
  o.fim_rate = 0.5;
  const PrepareReport report = prepare(tokenizer, folder_ / "fim", o);
  const auto plain = documents(folder_ / "plain"), mixed = documents(folder_ / "fim");
  ASSERT_EQ(plain.size(), mixed.size());
  int64_t changed = 0;
  std::map<size_t, int> first_cuts;
  for (size_t i = 0; i < plain.size(); ++i) {
    if (mixed[i][1] != fim.begin) {
      EXPECT_EQ(mixed[i], plain[i]);
      continue;
    }
    ++changed;
    const auto& ids = mixed[i];
    const auto hole = std::find(ids.begin(), ids.end(), fim.hole);
    const auto end = std::find(hole, ids.end(), fim.end);
    ASSERT_TRUE(end != ids.end());
    EXPECT_EQ(ids.front(), 0);
    EXPECT_EQ(ids.back(), 1);
    const auto text = [&](auto from, auto to) { return tokenizer.decode(Ids(from, to)); };
    // Each part is valid text, because cuts are between characters: decode would say U+FFFD.
    const std::string prefix = text(ids.begin() + 2, hole);
    EXPECT_EQ(prefix + text(end + 1, ids.end() - 1) + text(hole + 1, end),
              tokenizer.decode(plain[i], true));
    ++first_cuts[prefix.size()];
  }
  EXPECT_EQ(changed, report.fim_documents);
  EXPECT_NEAR(static_cast<double>(changed), 490, 80);
  EXPECT_GT(first_cuts.size(), 20u) << "cuts are drawn for each document";
}

TEST_F(PrepareTest, FillInMiddleCutsBetweenCharacters) {
  const auto tokenizer = fim_tokenizer(folder_ / "tokenizer");
  const FimTokens fim{10000, 10001, 10002};
  const auto parts = [&](double u0, double u1) {
    const Ids ids = fill_in_middle(tokenizer, fim, "aé森", u0, u1);
    std::string text;
    for (const int64_t id : ids) {
      text += id == fim.begin  ? "<"
              : id == fim.hole ? "|"
              : id == fim.end  ? ">"
                               : std::string(tokenizer.token_bytes(id));
    }
    return text;
  };
  EXPECT_EQ(parts(0, 0), "<|aé森>");
  EXPECT_EQ(parts(0.3, 0.6), "<a|森>é");
  EXPECT_EQ(parts(0.6, 0.3), "<a|森>é");
  EXPECT_EQ(parts(0.99, 0.99), "<aé森|>");
  EXPECT_EQ(parts(0, 0.99), "<|>aé森");
}

TEST_F(PrepareTest, AnErrorLeavesNothing) {
  const auto expect_refused = [&](const Tokenizer& tokenizer, PrepareOptions o,
                                  std::initializer_list<const char*> parts) {
    fs::create_directories(folder_ / "out");
    fs::create_directories(folder_ / "there");
    const auto before = std::distance(fs::directory_iterator(folder_.path()), {});
    expect_error([&] { prepare(tokenizer, folder_ / "out", o); }, parts);
    EXPECT_TRUE(fs::is_empty(folder_ / "out"));
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), {}), before);
  };
  const auto good = many();
  PrepareOptions o = options(good);
  o.inputs.push_back(write("bad.txt", "good\nbad \xFF\n--\n"));
  o.shard_tokens = 10000;
  expect_refused(stories(), o, {"bad.txt:2: not valid UTF-8"});
  o = options(good);
  o.fim_rate = 0.1;
  expect_refused(stories(), o, {"no token '<｜fim▁begin｜>'", "Fill-in-Middle"});
  expect_refused(Tokenizer::from_file(fs::path(DSV3_SOURCE_DIR) / "models/stories/tokenizer.json"),
                 options(good), {"no beginning of text", "tokenizer_config.json"});
  expect_refused(stories(), options(write("none.txt", "--\n--\n")), {"none.txt: there is no text"});
  o = options(good);
  o.fim_rate = 1.5;
  expect_refused(stories(), o, {"fim_rate is 1.5"});
}

TEST_F(PrepareTest, FoldersThatAreNotEmptyStayAsTheyAre) {
  fs::create_directories(folder_ / "out");
  write("out/mine.txt", "mine");
  expect_error([&] { prepare(stories(), folder_ / "out", options(many())); },
               {"out: exists and is not an empty folder"});
  EXPECT_EQ(read_file(folder_ / "out/mine.txt"), "mine");
  expect_error([&] { prepare(stories(), folder_ / "no/such/out", options(many())); },
               {"no/such/out: cannot create"});
}

TEST_F(PrepareTest, StoppingLeavesNothing) {
  PrepareOptions o = options(many());
  o.stop = [] { return true; };
  EXPECT_TRUE(prepare(stories(), folder_ / "out", o).stopped);
  EXPECT_FALSE(fs::exists(folder_ / "out"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), {}), 1) << "many.txt";
}

}  // namespace
}  // namespace dsv3::training
